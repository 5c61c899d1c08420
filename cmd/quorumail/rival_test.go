package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/bench"
)

// rival is what a cluster is compared with: a whole Postfix that hands mail for example.test to a whole Dovecot by LMTP, and other mail to
// a relay. One node, one copy, set up as for speed but with every fsync that is theirs by default.
type rival struct {
	t        testing.TB
	ip       string
	dir      string
	accounts []bench.Account
	roots    []int // ids of the processes that started the two masters
}

const (
	rivalSMTP = 2525
	rivalIMAP = 1143
)

func (r *rival) smtp() string { return net.JoinHostPort(r.ip, strconv.Itoa(rivalSMTP)) }
func (r *rival) imap() string { return net.JoinHostPort(r.ip, strconv.Itoa(rivalIMAP)) }

// needRival skips where the programs cannot run.
func needRival(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("Postfix and Dovecot must be started by root")
	}
	for _, p := range []struct{ path, of string }{{"/usr/sbin/postfix", "postfix"}, {"/usr/sbin/smtp-sink", "postfix"}, {"/usr/sbin/dovecot", "dovecot-core"},
		{"/usr/lib/dovecot/imap", "dovecot-imapd"}, {"/usr/lib/dovecot/lmtp", "dovecot-lmtpd"}} {
		if _, err := os.Stat(p.path); err != nil {
			t.Skipf("%s is not there: install the Debian package %s", p.path, p.of)
		}
	}
	if out, err := exec.Command("/usr/sbin/dovecot", "--version").Output(); err != nil || !bytes.HasPrefix(out, []byte("2.3.")) {
		t.Skipf("the configuration is for Dovecot 2.3, this is %s (%v)", bytes.TrimSpace(out), err)
	}
}

// startRival starts both. Mail that is not for example.test goes to the relay, "" for none.
func startRival(t testing.TB, accounts []bench.Account, relay string) *rival {
	t.Helper()
	needRival(t)
	dir, err := os.MkdirTemp("", "rival-") // a short path: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rival{t: t, ip: loopback(t), dir: dir, accounts: accounts}
	if err := os.Chmod(dir, 0o755); err != nil { // Postfix and Dovecot run as several users
		t.Fatal(err)
	}
	for name, owner := range map[string]string{"etc": "root", "queue": "root", "data": "postfix", "mail": "nobody", "run": "root", "state": "root"} {
		r.mkdir(name, owner)
	}
	r.startDovecot()
	r.startPostfix(relay)
	return r
}

func (r *rival) mkdir(name, owner string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.Mkdir(path, 0o755); err != nil {
		r.t.Fatal(err)
	}
	u, err := user.Lookup(owner)
	if err != nil {
		r.t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(path, uid, gid); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rival) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rival) startDovecot() {
	r.t.Helper()
	var users strings.Builder
	for _, a := range r.accounts {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::\n", a.Address, a.Password)
	}
	r.write("users", users.String())
	r.write("dovecot.conf", fmt.Sprintf(rivalDovecot, r.dir, r.ip, rivalIMAP))
	r.run("Dovecot", r.imap(), "/usr/sbin/dovecot", "-F", "-c", filepath.Join(r.dir, "dovecot.conf"))
}

func (r *rival) startPostfix(relay string) {
	r.t.Helper()
	var boxes strings.Builder
	for _, a := range r.accounts {
		fmt.Fprintf(&boxes, "%s x\n", a.Address)
	}
	etc := filepath.Join(r.dir, "etc")
	r.write("etc/mailboxes", boxes.String())
	r.write("etc/main.cf", fmt.Sprintf(rivalMain, r.dir, relay))
	r.write("etc/master.cf", fmt.Sprintf(rivalMaster, r.smtp()))
	if out, err := exec.Command("/usr/sbin/postfix", "-c", etc, "check").CombinedOutput(); err != nil { // it makes the queue's folders
		r.t.Fatalf("postfix check: %v: %s", err, out)
	}
	// "postfix start-fg" would put a shell in between, which does not pass signals on.
	r.run("Postfix", r.smtp(), "/usr/lib/postfix/sbin/master", "-c", etc, "-s")
}

// supervise runs a command and ends it when its input ends, as it does when whoever holds the other end ends, however that comes about.
const supervise = `"$@" & read line; kill $!; wait $!`

// run starts a server, waits until it listens, and sees to its end. A master that is told to end ends all its processes.
func (r *rival) run(name, address string, program ...string) {
	r.t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", supervise, "sh"}, program...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a Ctrl-C of the terminal is for us alone
	cmd.WaitDelay = time.Second                          // children may keep the output open
	if err := cmd.Start(); err != nil {
		r.t.Fatalf("start %s: %v", name, err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	r.t.Cleanup(func() {
		_ = in.Close()
		select {
		case <-exited:
		case <-time.After(20 * time.Second):
			r.t.Errorf("%s does not stop", name)
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-exited
		}
	})
	r.roots = append(r.roots, cmd.Process.Pid)
	if err := awaitListening(address, exited); err != nil {
		r.t.Fatalf("%s at %s: %v\n%s\n%s", name, address, err, out.String(), r.logs())
	}
}

func (r *rival) logs() string {
	var all strings.Builder
	for _, name := range []string{"postfix.log", "dovecot.log"} {
		raw, _ := os.ReadFile(filepath.Join(r.dir, name))
		fmt.Fprintf(&all, "the end of %s:\n%s", name, raw[max(0, len(raw)-2000):])
	}
	return all.String()
}

// awaitListening waits until somebody listens at address, or the process that should do so has ended.
func awaitListening(address string, exited <-chan struct{}) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-exited:
			return errors.New("it ended")
		case <-tick.C:
		}
	}
	return errors.New("nobody listens there")
}

// spent adds up what all processes of both have used.
func (r *rival) spent(context.Context) (bench.Spent, error) { return bench.ProcessesSpent(r.roots...) }

// rivalDovecot is for 2.3. What is not the default is what its manual advises for many logins and deliveries; mail_fsync stays "optimized".
const rivalDovecot = `
protocols = imap lmtp
instance_name = rival
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/dovecot.log
listen = %[2]s
ssl = no
disable_plaintext_auth = no
mail_location = sdbox:%[1]s/mail/%%u
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
mail_max_userip_connections = 100
postmaster_address = postmaster@example.test
auth_cache_size = 10M
passdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
}
userdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
  override_fields = uid=nobody gid=nogroup home=%[1]s/mail/%%u
}
service imap-login {
  service_count = 0
  process_min_avail = 2
  inet_listener imap {
    port = %[3]d
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  process_min_avail = 20
  unix_listener lmtp {
    mode = 0666
  }
}
`

// rivalMain raises what a default Postfix allows one client and one destination, and keeps what makes mail safe.
const rivalMain = `
compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/postfix.log
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.rival.test
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = %[2]s
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
virtual_mailbox_domains = example.test
virtual_mailbox_maps = texthash:%[1]s/etc/mailboxes
virtual_alias_maps =
virtual_transport = lmtp:unix:%[1]s/run/lmtp
default_process_limit = 300
smtpd_client_connection_count_limit = 0
initial_destination_concurrency = 10
smtp_tls_security_level = none
in_flow_delay = 0
`

const rivalMaster = `
%s inet n - n - - smtpd
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
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// smtpSink is Postfix's smtp-sink, which takes all mail and counts it.
type smtpSink struct {
	ip    string
	count atomic.Int64
}

func startSMTPSink(t testing.TB) *smtpSink {
	t.Helper()
	s := &smtpSink{ip: loopback(t)}
	address := net.JoinHostPort(s.ip, strconv.Itoa(sinkPort))
	cmd := exec.Command("/usr/sbin/smtp-sink", "-c", "-u", "nobody", address, "1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { s.read(bufio.NewScanner(out)); _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-exited })
	if err := awaitListening(address, exited); err != nil {
		t.Fatalf("smtp-sink at %s: %v", address, err)
	}
	return s
}

// read follows the counters, which smtp-sink prints as "sess=1 quit=1 mesg=1" with a carriage return, again and again.
func (s *smtpSink) read(sc *bufio.Scanner) {
	sc.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, '\r'); i >= 0 {
			return i + 1, data[:i], nil
		}
		return 0, nil, nil
	})
	for sc.Scan() {
		if _, v, ok := strings.Cut(sc.Text(), "mesg="); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
				s.count.Store(n)
			}
		}
	}
}

func (s *smtpSink) arrived() int { return int(s.count.Load()) }
