package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/jepsen/history"
)

// helo is what our clients call themselves.
const helo = "jepsen.invalid"

// SMTP is a connection by which mail goes in. It belongs to one goroutine.
type SMTP struct {
	o    Options
	c    *conn
	smtp *gosmtp.Client
	dead bool
	id   string // see QueueID

	// Deaf makes Deliver end the connection after the final dot, without waiting for the reply: as if the connection had broken then.
	Deaf bool
}

// DialSMTP connects to a node as another mail server does, without a login. Errors mean that nothing happened.
func DialSMTP(ctx context.Context, o Options, n Node) (*SMTP, error) {
	c, err := connect(ctx, o, n.SMTP, nil)
	if err != nil {
		return nil, failed(fmt.Errorf("smtp at %s: %w", n.Name, err))
	}
	return greet(ctx, o, c, n, nil)
}

// DialSubmission connects to a node as a user's program does. Errors mean that nothing can be sent; IsAuth those about the password.
func DialSubmission(ctx context.Context, o Options, n Node, address, password string) (*SMTP, error) {
	if n.TLS == nil {
		return nil, failed(fmt.Errorf("submission at %s: %w", n.Name, errNoService))
	}
	c, err := connect(ctx, o, n.Submissions, n.TLS)
	if err != nil {
		return nil, failed(fmt.Errorf("submission at %s: %w", n.Name, err))
	}
	return greet(ctx, o, c, n, sasl.NewPlainClient("", address, password))
}

func greet(ctx context.Context, o Options, c *conn, n Node, login sasl.Client) (*SMTP, error) {
	o = o.filled()
	s := &SMTP{o: o, c: c, smtp: gosmtp.NewClient(c)}
	defer c.begin(ctx, o.Timeout)()
	err := s.smtp.Hello(helo)
	if err != nil {
		s.Close()
		return nil, failed(fmt.Errorf("greet %s: %w", n.Name, err))
	}
	if login == nil {
		return s, nil
	}
	if err := s.smtp.Auth(login); err != nil {
		s.Close()
		return nil, loginError(fmt.Errorf("log in at %s: %w", n.Name, err), c.left())
	}
	return s, nil
}

// loginError judges a login that was not acknowledged.
func loginError(err error, sent bool) error {
	var mail *gosmtp.SMTPError
	if errors.As(err, &mail) && mail.Code == 535 { // RFC 4954 §6: the credentials are invalid
		return &OpError{Outcome: history.Fail, Auth: true, Err: err}
	}
	if errors.As(err, &mail) {
		return failed(err)
	}
	return judge(err, sent)
}

// Alive tells whether the connection can take another message, as far as is known.
func (s *SMTP) Alive() bool { return !s.dead }

// QueueID is what the node called the message that it took last, in its reply; "" when it did not take it, or did not say.
func (s *SMTP) QueueID() string { return s.id }

// Close ends the connection.
func (s *SMTP) Close() {
	s.dead = true
	_ = s.smtp.Close() // there is nothing left to save
}

// Deliver sends a message and answers what became of it for each recipient, in order; nil is OK.
func (s *SMTP) Deliver(ctx context.Context, from string, to []string, msg []byte) []error {
	defer s.c.begin(ctx, s.o.Timeout)()
	s.id = ""
	errs := make([]error, len(to))
	all := func(err error) []error { // for those who had not been refused
		for i := range errs {
			if errs[i] == nil {
				errs[i] = err
			}
		}
		return errs
	}
	if err := s.smtp.Mail(from, nil); err != nil {
		return all(s.refused("MAIL", err))
	}
	taken := 0
	for i, rcpt := range to {
		if errs[i] = s.refused("RCPT", s.smtp.Rcpt(rcpt, nil)); errs[i] == nil {
			taken++
		}
		if s.dead {
			return all(errs[i])
		}
	}
	if taken == 0 {
		s.reset()
		return errs
	}
	return all(s.data(msg))
}

// data sends the message. Up to the final dot nothing can have happened.
func (s *SMTP) data(msg []byte) error {
	w, err := s.smtp.Data()
	if err != nil {
		return s.refused("DATA", err)
	}
	if _, err := w.Write(msg); err != nil {
		s.Close()
		return failed(fmt.Errorf("send the message: %w", err))
	}
	if s.Deaf {
		_ = s.c.Conn.SetReadDeadline(time.Unix(1, 0)) // what fails shows when it is read
	}
	answer, err := w.CloseWithResponse()
	if err == nil {
		if m := replyID.FindStringSubmatch(answer.StatusText); m != nil {
			s.id = m[1]
		}
		return nil
	}
	sent := s.c.left()
	s.note(err)
	return judge(fmt.Errorf("final dot: %w", err), sent)
}

// refused is the error of a command before the message.
func (s *SMTP) refused(command string, err error) error {
	if err == nil {
		return nil
	}
	s.note(err)
	if command != "RCPT" {
		s.reset()
	}
	return failed(fmt.Errorf("%s: %w", command, err))
}

// note closes a connection that is of no more use: it broke, or the server said 421 (RFC 5321 §3.8).
func (s *SMTP) note(err error) {
	var answer *gosmtp.SMTPError
	if !errors.As(err, &answer) || answer.Code == 421 {
		s.Close()
	}
}

// reset ends a transaction that cannot go on.
func (s *SMTP) reset() {
	if s.dead {
		return
	}
	if err := s.smtp.Reset(); err != nil {
		s.Close()
	}
}
