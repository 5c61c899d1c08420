package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program finds a program of Postfix, which is not in everybody's path.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, path := range []string{name, filepath.Join("/usr/sbin", name)} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	t.Skipf("%s is not installed (Debian package postfix)", name)
	return ""
}

// freePort finds a port of 127.0.0.1 that nobody listens on.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// await waits for a condition.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(60 * time.Second); !condition(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func listening(to netip.AddrPort) func() bool {
	return func() bool {
		conn, err := net.Dial("tcp", to.String())
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}
}

// readable makes a test's folder, where other users may enter.
func readable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// postfix is a whole Postfix with its own configuration, queue and mailboxes.
type postfix struct {
	dir             string
	chunking, plain netip.AddrPort // with CHUNKING and without
}

func startPostfix(t *testing.T) *postfix {
	if os.Getuid() != 0 {
		t.Skip("Postfix must be started by root")
	}
	bin := program(t, "postfix")
	p := &postfix{dir: readable(t), chunking: freePort(t), plain: freePort(t)}
	for name, owner := range map[string]string{"etc": "root", "queue": "root", "data": "postfix", "mail": "nobody"} {
		if err := os.Mkdir(filepath.Join(p.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		chown(t, filepath.Join(p.dir, name), owner)
	}
	cert, key := testCA.files(t, p.dir)
	p.write(t, "etc/main.cf", fmt.Sprintf(mainCF, p.dir, cert, key))
	p.write(t, "etc/master.cf", fmt.Sprintf(masterCF, p.chunking, p.plain))
	cmd := exec.Command(bin, "-c", filepath.Join(p.dir, "etc"), "start-fg")
	// A group of its own, that ends with the test whatever becomes of it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command(bin, "-c", filepath.Join(p.dir, "etc"), "stop").CombinedOutput(); err != nil {
			t.Errorf("stop Postfix: %v: %s", err, out)
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		cmd.Wait() // its exit status tells of the stop
	})
	await(t, "Postfix", listening(p.plain))
	return p
}

func chown(t *testing.T, path, name string) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

func (p *postfix) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const mainCF = `
compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/log
mail_owner = postfix
setgid_group = postdrop
myhostname = mx1.example.test
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtputf8_enable = yes
smtpd_tls_cert_file = %[2]s
smtpd_tls_key_file = %[3]s
smtpd_tls_security_level = may
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_recipient_limit = 2
message_size_limit = 4000000
virtual_mailbox_limit = 0
virtual_mailbox_domains = example.test
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = inline:{ a@example.test=a/, b@example.test=b/, c@example.test=c/, hiếu@example.test=h/ }
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_alias_maps =
`

const masterCF = `
%s inet n - n - - smtpd
%s inet n - n - - smtpd
  -o smtpd_discard_ehlo_keywords=chunking,silent-discard
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`

// mailbox waits for a mailbox to hold n messages, and returns them.
func (p *postfix) mailbox(t *testing.T, name string, n int) [][]byte {
	t.Helper()
	var files []string
	await(t, fmt.Sprintf("%d messages in %s", n, name), func() bool {
		files, _ = filepath.Glob(filepath.Join(p.dir, "mail", name, "new", "*"))
		return len(files) >= n
	})
	var all [][]byte
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, raw)
	}
	if len(all) != n {
		t.Fatalf("%d messages in %s, want %d", len(all), name, n)
	}
	return all
}

// TestPostfixAsMX hands mail to a whole Postfix over verified TLS, with and without CHUNKING.
func TestPostfixAsMX(t *testing.T) {
	p := startPostfix(t)
	body := "From: s@client.example\r\nDate: Mon, 30 Nov 2026 12:00:00 +0700\r\nMessage-ID: <1@client.example>\r\nSubject: ch=?utf-8?q?=C3=A0?=o\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
		".\r\n..\r\nxin chào\r\n" + strings.Repeat("0123456789 abcdefghijklmnopqrstuvwxyz\r\n", 50_000) + "."
	msg := Message{ID: "big", From: address(t, "s@client.example"), Open: opens("Return-Path: <s@client.example>\r\n" + body), Ret: "HDRS", EnvID: "e+2B1"}
	rcpts := []Recipient{{Address: address(t, "a@example.test"), Notify: NotifyFailure, ORCPT: "rfc822;x@y.example"}, {Address: address(t, "nobody@example.test")},
		{Address: address(t, "x@elsewhere.test")}, {Address: address(t, "b@example.test")}, {Address: address(t, "c@example.test")}}
	c := newClient(t, Config{Hostname: "client.example", RootCAs: testCA.pool})
	for i, addr := range []netip.AddrPort{p.chunking, p.plain} {
		route := Route{Key: "k", Hosts: []Host{{Name: "mx1.example.test", Addrs: []netip.AddrPort{addr}, TLS: TLSVerify}}}
		results := c.Deliver(context.Background(), route, msg, rcpts)
		for k, want := range []string{"delivered 250 2.0.0 dsn encrypted *", "failed 550 5.1.1 encrypted *", "failed 554 5.7.1 encrypted *",
			"delivered 250 2.0.0 dsn encrypted *", "delivered 250 2.0.0 dsn encrypted *"} {
			if got := shownResult(results[k]); !matches(want, got) {
				t.Errorf("recipient %d: %s, want %s", k, got, want)
			}
		}
		stored := strings.ReplaceAll(body, "\r\n", "\n") + "\n"
		for _, box := range []string{"a", "b", "c"} {
			for _, raw := range p.mailbox(t, box, i+1) {
				if !bytes.HasSuffix(raw, []byte("\n"+stored)) {
					t.Errorf("mailbox %s: the message is not what was sent", box)
				}
				if bytes.Count(raw[:2000], []byte("Return-Path:")) != 1 {
					t.Errorf("mailbox %s: two Return-Path fields", box)
				}
			}
		}
	}
}

// TestPostfixSaysNo covers what only a real server words and orders in its own way.
func TestPostfixSaysNo(t *testing.T) {
	p := startPostfix(t)
	c := newClient(t, Config{Hostname: "client.example", RootCAs: testCA.pool})
	deliver := func(host Host, from string, raw string, to ...string) []string {
		var rcpts []Recipient
		for _, one := range to {
			rcpts = append(rcpts, Recipient{Address: address(t, one)})
		}
		host.Addrs = []netip.AddrPort{p.chunking}
		var got []string
		for _, r := range c.Deliver(context.Background(), Route{Key: "k", Hosts: []Host{host}}, Message{ID: "m", From: address(t, from), Open: opens(raw)}, rcpts) {
			got = append(got, shownResult(r))
		}
		return got
	}
	const mx = "mx1.example.test"
	for _, one := range []struct {
		name string
		got  []string
		want string
	}{
		{"too large", deliver(Host{Name: mx}, "s@client.example", strings.Repeat("x\r\n", 1_400_000), "a@example.test"), "failed 552 5.3.4 local encrypted *"},
		{"UTF-8 address", deliver(Host{Name: mx}, "hiếu@client.example", "Subject: s\r\n\r\nhi\r\n", "hiếu@example.test"), "delivered 250 2.0.0 dsn encrypted *"},
		{"null sender", deliver(Host{Name: mx}, "<>", "Subject: s\r\n\r\nhi\r\n", "a@example.test"), "delivered 250 2.0.0 dsn encrypted *"},
		{"in clear", deliver(Host{Name: mx, TLS: TLSNone}, "s@client.example", "Subject: s\r\n\r\nhi\r\n", "a@example.test"), "delivered 250 2.0.0 dsn Ok*"},
		{"wrong name", deliver(Host{Name: "other.example.test", TLS: TLSVerify}, "s@client.example", "x\r\n", "a@example.test"), "deferred 0 4.7.5 local unreachable *"},
		{"wrong peer, opportunistic", deliver(Host{Name: mx, VerifyPeer: func(tls.ConnectionState) error { return errors.New("no") }}, "s@client.example",
			"Subject: s\r\n\r\nhi\r\n", "a@example.test"), "delivered 250 2.0.0 dsn Ok*"},
	} {
		if len(one.got) != 1 || !matches(one.want, one.got[0]) {
			t.Errorf("%s: %q, want %q", one.name, one.got, one.want)
		}
	}
}
