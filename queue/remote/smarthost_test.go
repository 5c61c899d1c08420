package remote

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/queue/remote/remotetest"
)

// smarthost is a whole Postfix that passes mail on for who logs in, by a whole Dovecot that knows the passwords. It listens at a port for each mechanism.
type smarthost struct {
	*remotetest.Lab
	at map[string]netip.AddrPort // by mechanism; "": without any; "implicit": TLS from the first byte
}

const smarthostPassword = `mật khẩu, =dài "và" 'lạ'`

func startSmarthost(t *testing.T) *smarthost {
	remotetest.NeedDovecot(t)
	remotetest.NeedPostfix(t)
	s := &smarthost{Lab: remotetest.New(t), at: map[string]netip.AddrPort{}}
	cert, key := testCA.files(t, s.Dir)
	sasl := freePort(t)
	s.StartDovecot(fmt.Sprintf(smarthostDovecot, sasl.Port()), "me@client.example:{PLAIN}"+smarthostPassword+"\n", sasl.String())
	var listeners []string
	for _, one := range []struct{ name, options string }{
		{"PLAIN", "-o smtpd_sasl_mechanism_filter=plain"}, {"LOGIN", "-o smtpd_sasl_mechanism_filter=login"},
		{"SCRAM-SHA-256", "-o smtpd_sasl_mechanism_filter=scram-sha-256"}, {"CRAM-MD5", "-o smtpd_sasl_mechanism_filter=cram-md5"},
		{"implicit", "-o smtpd_tls_wrappermode=yes"}, {"", "-o smtpd_sasl_auth_enable=no"},
	} {
		s.at[one.name] = freePort(t)
		listeners = append(listeners, s.at[one.name].String()+" "+one.options)
	}
	s.StartPostfix(fmt.Sprintf(smarthostMain, cert, key, sasl), listeners...)
	return s
}

// smarthostDovecot makes nobody wait after a wrong password.
const smarthostDovecot = `
protocols =
listen = 127.0.0.1
auth_mechanisms = plain login cram-md5 scram-sha-256
auth_failure_delay = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service auth {
  inet_listener {
    port = %d
  }
}
`

const smarthostMain = `
myhostname = mx1.example.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_tls_cert_file = %s
smtpd_tls_key_file = %s
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:%s
smtpd_sasl_authenticated_header = yes
smtpd_relay_restrictions =
smtpd_error_sleep_time = 0
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
virtual_mailbox_maps = inline:{ a@example.test=a/ }
`

func (s *smarthost) route(mechanism, password string) Route {
	return Route{Key: mechanism, Smarthost: true, TLS: TLSVerify, Username: "me@client.example", Password: password,
		Hosts: []Host{{Name: "mx1.example.test", Authentic: true, Addrs: []netip.AddrPort{s.at[mechanism]}}}}
}

// TestLoginAtASmarthost: by each mechanism, under STARTTLS and under TLS from the first byte.
func TestLoginAtASmarthost(t *testing.T) {
	s := startSmarthost(t)
	c := newClient(t, Config{Hostname: "client.example", RootCAs: testCA.pool})
	msg, _ := simple(t, "Subject: s\r\n\r\nhi\r\n")
	rcpts := []Recipient{{Address: address(t, "a@example.test")}}
	sent := 0
	for _, mechanism := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "implicit"} {
		route := s.route(mechanism, smarthostPassword)
		if mechanism == "implicit" {
			route.TLS = TLSImplicit
		}
		if got := shownResult(c.Deliver(context.Background(), route, msg, rcpts)[0]); !matches("delivered 250 2.0.0 dsn encrypted *", got) {
			t.Fatalf("%s: %s\n%s", mechanism, got, s.Logs())
		}
		sent++
		for _, raw := range mailbox(t, s.Lab, "a", sent) {
			if !bytes.Contains(raw, []byte("(Authenticated sender: me@client.example)")) {
				t.Errorf("%s: the message was taken from nobody in particular:\n%s", mechanism, raw)
			}
		}
	}
}

// TestLoginThatFails: what an administrator finds in the queue. The mail waits in each case.
func TestLoginThatFails(t *testing.T) {
	s := startSmarthost(t)
	c := newClient(t, Config{Hostname: "client.example", RootCAs: testCA.pool})
	msg, _ := simple(t, "Subject: s\r\n\r\nhi\r\n")
	rcpts := []Recipient{{Address: address(t, "a@example.test")}}
	anybody := s.route("PLAIN", smarthostPassword)
	anybody.Username = "nobody@client.example"
	otherName := s.route("PLAIN", smarthostPassword)
	otherName.Hosts[0].Name = "other.example.test"
	for name, one := range map[string]struct {
		route Route
		want  string
	}{
		"wrong password, PLAIN":         {s.route("PLAIN", "wrong"), "deferred 535 4.7.8 unreachable login refused: Error: authentication failed:*"},
		"wrong password, LOGIN":         {s.route("LOGIN", "wrong"), "deferred 535 4.7.8 unreachable login refused: Error: authentication failed:*"},
		"wrong password, SCRAM-SHA-256": {s.route("SCRAM-SHA-256", "wrong"), "deferred 535 4.7.8 unreachable login refused: Error: authentication failed:*"},
		"wrong name":                    {anybody, "deferred 535 4.7.8 unreachable login refused: Error: authentication failed:*"},
		"the wrong server":              {otherName, "deferred 0 4.7.5 local unreachable TLS handshake: tls: failed to verify certificate:*"},
		"no mechanism in common":        {s.route("CRAM-MD5", smarthostPassword), "deferred 0 4.7.4 local unreachable login: the server offers none of SCRAM-SHA-256, PLAIN, LOGIN, but CRAM-MD5"},
		"no login offered":              {s.route("", smarthostPassword), "deferred 0 4.7.4 local unreachable login: the server offers none here"},
	} {
		r := c.Deliver(context.Background(), one.route, msg, rcpts)[0]
		if got := shownResult(r); !matches(one.want, got) || r.Host != one.route.Hosts[0].Name {
			t.Errorf("%s:\n got %s, from %s\nwant %s", name, got, r.Host, one.want)
		}
		if strings.Contains(r.Text, one.route.Password) {
			t.Errorf("%s: the password shows", name)
		}
	}
}
