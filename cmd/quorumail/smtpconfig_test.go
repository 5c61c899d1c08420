package main

import (
	"testing"

	"github.com/quorumail/quorumail/protocol/smtp/smtpd"
)

// Each listener has the limits that the settings give it, or those of all.
func TestSMTPLimitsFollowSettings(t *testing.T) {
	stored := map[string]string{"smtp.max_errors": "7, lmtp=70", "smtp.max_connections": "500, smtp=9000", "smtp.max_recipients": "200, submission=300",
		"smtp.max_unrecognised": "5", "smtp.max_commands": "99", "smtp.max_connections_per_address": "3", "smtp.max_failed_logins": "8", "smtp.max_message_bytes": "1MiB"}
	lookup := func(name string) (string, bool) { v, ok := stored[name]; return v, ok }
	all := smtpd.Counts{Connections: 500, ConnectionsPerAddress: 3, MessageBytes: 1 << 20, Recipients: 200, Commands: 99, Errors: 7, Unrecognised: 5, FailedLogins: 8}
	mx, submission, lmtp := all, all, all
	mx.Connections = 2000 // what the node bears
	submission.Recipients = 300
	lmtp.Errors = 70
	for mode, want := range map[smtpd.Mode]smtpd.Counts{smtpd.MX: mx, smtpd.Submission: submission, smtpd.Submissions: all, smtpd.LMTP: lmtp} {
		if got := smtpCounts(listenerNames[mode], 2000, lookup); got != want {
			t.Errorf("%v: got %+v, want %+v", mode, got, want)
		}
	}
	stored = nil
	want := smtpd.Counts{Connections: 2000, ConnectionsPerAddress: 50, MessageBytes: 50 << 20, Recipients: 1000, Commands: 1000, Errors: 25, Unrecognised: 4, FailedLogins: 3}
	if got := smtpCounts("smtp", 2000, lookup); got != want {
		t.Errorf("defaults: got %+v, want %+v", got, want)
	}
}
