package remotetest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// NeedDovecot skips where there is none of the version that configurations here are for, or a program of it (imap, lmtp) is not there.
func NeedDovecot(t testing.TB, programs ...string) {
	t.Helper()
	dovecot := Program(t, "dovecot", "dovecot-core")
	for _, p := range programs {
		if _, err := os.Stat("/usr/lib/dovecot/" + p); err != nil {
			t.Skipf("Dovecot's %s is not there: install the Debian package dovecot-%sd", p, p)
		}
	}
	if out, err := exec.Command(dovecot, "--version").Output(); err != nil || !bytes.HasPrefix(out, []byte("2.3.")) {
		t.Skipf("the configuration is for Dovecot 2.3, this is %s (%v)", bytes.TrimSpace(out), err)
	}
}

// StartDovecot runs a Dovecot. conf is added to the settings that keep it in its folder; users are lines of a passwd-file, "users". It is waited for at address.
func (l *Lab) StartDovecot(conf, users, address string) {
	l.t.Helper()
	for name, owner := range map[string]string{"run": "root", "state": "root", "mail": "nobody"} {
		l.mkdir(name, owner)
	}
	l.Write("users", users)
	l.Write("dovecot.conf", fmt.Sprintf(dovecotConf, l.Dir)+conf)
	l.Run("Dovecot", address, "/usr/sbin/dovecot", "-F", "-c", l.Path("dovecot.conf"))
}

const dovecotConf = `
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/dovecot.log
ssl = no
disable_plaintext_auth = no
mail_location = sdbox:%[1]s/mail/%%u
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
}
userdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
  override_fields = uid=nobody gid=nogroup home=%[1]s/mail/%%u
}
`
