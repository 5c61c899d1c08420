package remotetest

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// NeedPostfix skips where there is none.
func NeedPostfix(t testing.TB) {
	t.Helper()
	Program(t, "postfix", "postfix")
	Program(t, "smtp-sink", "postfix")
}

// StartPostfix runs a whole Postfix with a configuration, queue and mailboxes (in mail) of its own. main is added to the settings that keep it in its folder; listeners
// are lines of master.cf, each of which begins with the address of an smtpd, the first of which is waited for.
func (l *Lab) StartPostfix(main string, listeners ...string) {
	l.t.Helper()
	NeedPostfix(l.t)
	for name, owner := range map[string]string{"etc": "root", "queue": "root", "data": "postfix", "mail": "nobody"} {
		l.mkdir(name, owner)
	}
	l.Write("etc/main.cf", fmt.Sprintf(postfixMain, l.Dir)+main)
	var smtpd strings.Builder
	for _, line := range listeners {
		address, options, _ := strings.Cut(line, " ")
		fmt.Fprintf(&smtpd, "%s inet n - n - - smtpd %s\n", address, options)
	}
	l.Write("etc/master.cf", smtpd.String()+postfixMaster)
	etc := l.Path("etc")
	if out, err := exec.Command("/usr/sbin/postfix", "-c", etc, "check").CombinedOutput(); err != nil { // it makes the queue's folders
		l.t.Fatalf("postfix check: %v: %s", err, out)
	}
	first, _, _ := strings.Cut(listeners[0], " ")
	// "postfix start-fg" would put a shell in between, which does not pass signals on.
	l.Run("Postfix", first, "/usr/lib/postfix/sbin/master", "-c", etc, "-s")
}

const postfixMain = `
compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/postfix.log
mail_owner = postfix
setgid_group = postdrop
mydestination =
alias_maps =
virtual_alias_maps =
virtual_mailbox_domains = example.test
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_limit = 0
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
`

const postfixMaster = `
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`
