package imapd

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/store"
)

// mayLogIn says whether a password may travel on this connection.
func (s *session) mayLogIn() bool {
	return s.conn.tls || s.cfg.AllowPlainAuth && s.remote.IsLoopback()
}

// startTLS: RFC 9051 §6.2.1. What the client sent before the handshake is thrown away: it must not count as sent under its protection.
func (s *session) startTLS(ctx context.Context, cmd *imap.Command) (answer, error) {
	switch {
	case s.conn.tls:
		return answer{}, bad("TLS is in use")
	case s.cfg.TLS == nil:
		return answer{}, bad("TLS is not available")
	}
	s.w.Status(cmd.Tag, imap.StatusOK, "", "Begin TLS now")
	if err := s.w.Flush(); err != nil {
		return answer{}, readFailed(err)
	}
	if err := s.conn.handshake(ctx); err != nil {
		s.log.Debug("tls refused", "err", err)
		s.over = true
		s.conn.beforeRead = nil
		return answer{}, nil
	}
	s.attach()
	return answer{}, errAnswered
}

// errAnswered says that the command wrote its tagged answer itself.
var errAnswered = errors.New("imapd: answered")

// login: RFC 9051 §6.2.3.
func (s *session) login(ctx context.Context, cmd *imap.Command) (answer, error) {
	if !s.mayLogIn() {
		return answer{}, no(imap.CodePrivacyRequired, "Begin TLS first")
	}
	args := cmd.Args.(*imap.LoginArgs)
	return s.check(ctx, args.Username, args.Password)
}

// authenticate: RFC 9051 §6.2.2 with SASL-IR (RFC 4959). PLAIN (RFC 4616) is what there is.
func (s *session) authenticate(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.AuthenticateArgs)
	switch {
	case args.Mechanism != "PLAIN":
		return answer{}, no(imap.CodeCannot, "Mechanism not supported")
	case !s.mayLogIn():
		return answer{}, no(imap.CodePrivacyRequired, "Begin TLS first")
	}
	response := args.Initial
	if !args.HasInitial {
		var err error
		if response, err = s.challenge(); err != nil {
			return answer{}, err
		}
	}
	plain, err := sasl.DecodePlain(response)
	if err != nil {
		return answer{}, bad("Not a PLAIN response")
	}
	if plain.Identity != "" && !strings.EqualFold(plain.Identity, plain.User) {
		return answer{}, no(imap.CodeAuthorizationFailed, "Nobody may act for others here")
	}
	return s.check(ctx, plain.User, plain.Password)
}

// challenge asks the client for its response.
func (s *session) challenge() ([]byte, error) {
	s.w.Continue("")
	if err := s.w.Flush(); err != nil {
		return nil, readFailed(err)
	}
	s.conn.await(s.commandDeadline())
	line, err := s.r.ReadLine()
	if err != nil {
		return nil, readFailed(err)
	}
	response, cancelled, err := imap.DecodeSASL(line)
	switch {
	case cancelled:
		return nil, bad("Authentication cancelled")
	case err != nil:
		return nil, bad("Response is not base64")
	}
	return response, nil
}

// verify checks a password so that the session does not outlive it.
func (s *session) verify(ctx context.Context, user, password string) (id Identity, err error) {
	err = s.conn.srv.logins.Check(s.conn, func() (store.AccountID, error) {
		var err error
		id, err = s.cfg.Auth.Authenticate(ctx, s.remote, user, password)
		return id.Account, err
	})
	return id, err
}

// check is the login itself.
func (s *session) check(ctx context.Context, user, password string) (answer, error) {
	if err := s.ready(); err != nil { // spares the client the wait for a barrier that cannot come
		s.cfg.Metrics.Logins.WithLabelValues("unavailable").Inc()
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.Barrier)
	defer cancel()
	id, err := s.verify(ctx, user, password)
	switch {
	case err == nil:
		s.cfg.Metrics.Logins.WithLabelValues("ok").Inc()
		s.user = &id
		s.conn.mustLogIn(time.Time{})
		s.r.SetLimits(s.readerLimits())
		s.log.Info("logged in", "account", s.account())
		return answer{code: imap.CodeCapability(s.capabilities()), text: "Logged in"}, nil
	case errors.Is(err, store.ErrDenied):
		s.cfg.Metrics.Logins.WithLabelValues("denied").Inc()
		s.log.Info("login refused", "err", err)
		if s.failed++; s.failed >= s.cfg.Limits.FailedLogins {
			return answer{}, &byeError{imap.CodeAuthenticationFailed, "Too many failed logins"}
		}
		return answer{}, no(imap.CodeAuthenticationFailed, "Wrong address or password")
	}
	s.cfg.Metrics.Logins.WithLabelValues("unavailable").Inc()
	return answer{}, unavailable("log in", err)
}
