package remote

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
)

// maxChallenges bounds the rounds of a login.
const maxChallenges = 8

// login logs in where the route asks for it. A refusal is taken for an error of our configuration, and so is temporary: somebody can mend
// it while the mail waits.
func (s *session) login() error {
	if s.to.key.username == "" {
		return nil
	}
	local := s.to.policy == TLSNone && s.to.addr.Addr().Unmap().IsLoopback()
	if s.tls == nil && !local { // RFC 4954 §4: a password does not travel in clear
		return deferred(0, "4.7.11", "login: the connection is not encrypted")
	}
	client := mechanism(s.ext.auth, s.to.key.username, s.to.key.password)
	switch {
	case len(s.ext.auth) == 0:
		return deferred(0, "4.7.4", "login: the server offers none here")
	case client == nil:
		return deferred(0, "4.7.4", "login: the server offers none of SCRAM-SHA-256, PLAIN, LOGIN, but "+strings.Join(s.ext.auth, ", "))
	}
	r, err := s.authenticate(client)
	switch {
	case err != nil:
		return broken("login", err)
	case r.code != 235:
		f := answered("login", r).temporary()
		f.text = shown("login refused: "+f.text, maxText) // or it would look as if the message were
		return f
	}
	return nil
}

// mechanism picks the one that tells the server least.
func mechanism(offered []string, username, password string) sasl.Client {
	switch {
	case slices.Contains(offered, "SCRAM-SHA-256"):
		return newSCRAMClient(username, password)
	case slices.Contains(offered, "PLAIN"):
		return sasl.NewPlainClient("", username, password)
	case slices.Contains(offered, "LOGIN"):
		return &loginClient{answers: []string{username, password}}
	}
	return nil
}

// authenticate runs the exchange of RFC 4954 §4 and returns the reply that ends it.
func (s *session) authenticate(client sasl.Client) (reply, error) {
	mech, initial, err := client.Start()
	if err != nil {
		return reply{}, deferred(0, "4.7.0", fmt.Sprintf("login: %v", err))
	}
	line := "AUTH " + mech
	if initial != nil {
		line += " " + encoded(initial)
	}
	for range maxChallenges {
		r, err := s.command(s.c.cfg.Timeouts.Mail, line)
		if err != nil || r.code != 334 {
			return r, cmp.Or(err, proven(client, r))
		}
		answer, err := respond(client, r)
		if err != nil {
			// RFC 4954 §4: a client that gives up says so. The connection is closed in any case.
			s.command(s.c.cfg.Timeouts.Mail, "*")
			return reply{}, deferred(0, "4.7.0", fmt.Sprintf("login: %v", err))
		}
		line = base64.StdEncoding.EncodeToString(answer)
	}
	return reply{}, deferred(0, "4.7.0", "login: it does not end")
}

// proven: RFC 5802 §5. Who takes a password for right without having shown that it knows it is not who we wanted to talk to.
func proven(client sasl.Client, r reply) error {
	if c, ok := client.(*scramClient); ok && r.code == 235 && !c.proven {
		return deferred(0, "4.7.0", "login: the server has not shown that it knows the password")
	}
	return nil
}

func respond(client sasl.Client, r reply) ([]byte, error) {
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(r.lines[0]))
	if err != nil {
		return nil, fmt.Errorf("challenge: %w", err)
	}
	return client.Next(challenge)
}

// encoded is an initial response: one of no bytes is "=" (RFC 4954 §4).
func encoded(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// loginClient speaks LOGIN as servers do: whatever the words of the two questions, the name is the first answer. go-sasl's sends the name with
// the command, which many do not take, and wants one wording.
type loginClient struct{ answers []string }

func (c *loginClient) Start() (string, []byte, error) { return "LOGIN", nil, nil }

func (c *loginClient) Next([]byte) ([]byte, error) {
	if len(c.answers) == 0 {
		return nil, sasl.ErrUnexpectedServerChallenge
	}
	answer := c.answers[0]
	c.answers = c.answers[1:]
	return []byte(answer), nil
}
