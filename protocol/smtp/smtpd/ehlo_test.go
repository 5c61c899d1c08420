package smtpd

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
)

// What is offered depends on what the listener is for, and on whether the line is clear (RFC 3207 §4.2, RFC 4954 §4, RFC 8689 §2, RFC 9422 §3).
func TestWhatIsOffered(t *testing.T) {
	always := []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "SMTPUTF8", "BINARYMIME", "DSN", "LIMITS RCPTMAX=1000", "SIZE 52428800"}
	const clearAuth, tlsAuth = "AUTH PLAIN LOGIN SCRAM-SHA-256", "AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS"
	for name, tt := range map[string]struct {
		mode   Mode
		change func(*Config)
		clear  []string // besides
		secure []string
	}{
		"mx":                       {MX, nil, []string{"STARTTLS"}, []string{"REQUIRETLS"}},
		"mx without TLS":           {MX, func(c *Config) { c.TLS = nil }, nil, nil},
		"submission":               {Submission, func(c *Config) { c.AllowPlainAuth = false }, []string{"STARTTLS"}, []string{"REQUIRETLS", tlsAuth}},
		"submission on loopback":   {Submission, nil, []string{"STARTTLS", clearAuth}, []string{"REQUIRETLS", tlsAuth}},
		"submission under TLS 1.2": {Submission, func(c *Config) { c.TLS.MaxVersion = tls.VersionTLS12 }, []string{"STARTTLS", clearAuth}, []string{"REQUIRETLS", clearAuth}},
		"lmtp":                     {LMTP, nil, []string{"STARTTLS"}, []string{"REQUIRETLS"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, tt.mode, tt.change).dial()
			c.expect("220*")
			hello := "EHLO c"
			if tt.mode == LMTP {
				hello = "LHLO c"
			}
			offered(t, c.say(hello, "250*"), append(slices.Clone(always), tt.clear...))
			if tt.secure == nil {
				c.say("STARTTLS", "502*")
				return
			}
			c.startTLS()
			offered(t, c.say(hello, "250*"), append(slices.Clone(always), tt.secure...))
		})
	}
}

func offered(t *testing.T, reply string, want []string) {
	t.Helper()
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(reply), "\r\n")[1:] {
		got = append(got, line[4:])
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("offered:\n%q\nwant:\n%q", got, want)
	}
}
