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
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/queue/remote/remotetest"
)

// freePort finds a port of 127.0.0.1 that nobody listens on.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	return remotetest.FreePort(t, "127.0.0.1")
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

// postfix is a whole Postfix with its own configuration, queue and mailboxes.
type postfix struct {
	*remotetest.Lab
	chunking, plain netip.AddrPort // with CHUNKING and without
}

func startPostfix(t *testing.T) *postfix {
	p := &postfix{Lab: remotetest.New(t), chunking: freePort(t), plain: freePort(t)}
	cert, key := testCA.files(t, p.Dir)
	p.StartPostfix(fmt.Sprintf(mainCF, cert, key), p.chunking.String(), p.plain.String()+" -o smtpd_discard_ehlo_keywords=chunking,silent-discard")
	return p
}

const mainCF = `
myhostname = mx1.example.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtputf8_enable = yes
smtpd_tls_cert_file = %s
smtpd_tls_key_file = %s
smtpd_tls_security_level = may
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_recipient_limit = 2
message_size_limit = 4000000
virtual_mailbox_maps = inline:{ a@example.test=a/, b@example.test=b/, c@example.test=c/, hiếu@example.test=h/ }
`

// mailbox waits for a mailbox to hold n messages, and returns them.
func mailbox(t *testing.T, lab *remotetest.Lab, name string, n int) [][]byte {
	t.Helper()
	var files []string
	await(t, fmt.Sprintf("%d messages in %s", n, name), func() bool {
		files, _ = filepath.Glob(lab.Path(filepath.Join("mail", name, "new", "*")))
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
			for _, raw := range mailbox(t, p.Lab, box, i+1) {
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
