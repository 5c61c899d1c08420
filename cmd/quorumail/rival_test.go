package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/quorumail/quorumail/ops/bench"
	"github.com/quorumail/quorumail/queue/remote/remotetest"
)

// rival is what a cluster is compared with: a whole Postfix that hands mail for example.test to a whole Dovecot by LMTP, and other mail to
// a relay. One node, one copy, set up as for speed but with every fsync that is theirs by default.
type rival struct {
	*remotetest.Lab
	ip       string
	accounts []bench.Account
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
	remotetest.NeedPostfix(t)
	remotetest.NeedDovecot(t, "imap", "lmtp")
}

// startRival starts both. Mail that is not for example.test goes to the relay, "" for none.
func startRival(t testing.TB, accounts []bench.Account, relay string) *rival {
	t.Helper()
	needRival(t)
	r := &rival{Lab: remotetest.New(t), ip: loopback(t), accounts: accounts}
	var users, boxes strings.Builder
	for _, a := range r.accounts {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::\n", a.Address, a.Password)
		fmt.Fprintf(&boxes, "%s x\n", a.Address)
	}
	r.StartDovecot(fmt.Sprintf(rivalDovecot, r.ip, rivalIMAP), users.String(), r.imap())
	r.Write("mailboxes", boxes.String())
	r.StartPostfix(fmt.Sprintf(rivalMain, r.Dir, relay), r.smtp())
	return r
}

// spent adds up what all processes of both have used.
func (r *rival) spent(context.Context) (bench.Spent, error) { return bench.ProcessesSpent(r.Roots...) }

// rivalDovecot is for 2.3. What is not the default is what its manual advises for many logins and deliveries; mail_fsync stays "optimized".
const rivalDovecot = `
protocols = imap lmtp
instance_name = rival
listen = %[1]s
mail_max_userip_connections = 100
postmaster_address = postmaster@example.test
auth_cache_size = 10M
service imap-login {
  service_count = 0
  process_min_avail = 2
  inet_listener imap {
    port = %[2]d
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
myhostname = mx.rival.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = %[2]s
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
virtual_mailbox_maps = texthash:%[1]s/mailboxes
virtual_transport = lmtp:unix:%[1]s/run/lmtp
default_process_limit = 300
smtpd_client_connection_count_limit = 0
initial_destination_concurrency = 10
smtp_tls_security_level = none
in_flow_delay = 0
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
	if err := remotetest.AwaitListening(address, exited); err != nil {
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
