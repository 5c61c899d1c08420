package smtpd

import (
	"os/exec"
	"testing"
)

// Postfix's own source of test mail, over several sessions, and over one for several messages.
func TestPostfixDelivers(t *testing.T) {
	source, err := exec.LookPath("smtp-source")
	if err != nil {
		if source, err = exec.LookPath("/usr/sbin/smtp-source"); err != nil {
			t.Skip("smtp-source is not there")
		}
	}
	for name, tt := range map[string]struct {
		mode Mode
		args []string
	}{"smtp": {MX, nil}, "reusing connections": {MX, []string{"-d"}}, "lmtp": {LMTP, []string{"-L"}}} {
		t.Run(name, func(t *testing.T) {
			r := start(t, tt.mode, nil)
			args := append(tt.args, "-m", "60", "-s", "6", "-l", "20480", "-f", "x@remote.example", "-t", "team@example.test", "inet:"+r.addr)
			if out, err := exec.Command(source, args...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("%v: %s", err, out)
			}
			if n := len(r.store.stored()); n != 60 {
				t.Errorf("%d messages", n)
			}
		})
	}
}
