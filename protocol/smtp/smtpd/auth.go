package smtpd

import (
	"errors"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/store"
)

// AuthMechanisms implements go-smtp's AuthSession: what EHLO offers.
func (s *session) AuthMechanisms() []string {
	if !s.mayAuth() {
		return nil
	}
	return []string{sasl.Plain, sasl.Login}
}

// mayAuth is whether a password may be sent now: under TLS, or from this host where that is allowed.
func (s *session) mayAuth() bool {
	cfg := s.srv.cfg
	return cfg.Mode.submits() && !s.authed && (s.w.tls != nil || cfg.AllowPlainAuth && s.w.remote.IsLoopback())
}

// Auth implements go-smtp's AuthSession: AUTH (RFC 4954).
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	switch {
	case s.srv.cfg.Mode.submits() && s.mail != nil:
		return nil, reply(503, 5, 5, 1, "AUTH is not allowed within a message") // RFC 4954 §3
	case !s.srv.cfg.Mode.submits():
		return nil, gosmtp.ErrAuthUnsupported
	case !s.mayAuth():
		return nil, reply(538, 5, 7, 11, "Encryption is required for a login")
	}
	switch mechanism {
	case sasl.Plain:
		return sasl.NewPlainServer(func(identity, user, password string) error {
			if identity != "" && identity != user {
				return s.denied(store.ErrDenied) // nobody acts for others
			}
			return s.login(user, password)
		}), nil
	case sasl.Login:
		return &loginServer{login: s.login}, nil
	}
	return nil, gosmtp.ErrAuthUnknownMechanism
}

func (s *session) login(user, password string) error {
	if err := s.srv.cfg.Store.Ready(); err != nil && !errors.Is(err, store.ErrNoSpace) {
		return s.denied(err) // spares the client the wait for a barrier that cannot come
	}
	ctx, cancel := s.lookup()
	defer cancel()
	who, err := s.verify(ctx, user, password)
	if err != nil {
		return s.denied(err)
	}
	s.who, s.authed = who, true
	s.w.setAuthed()
	s.srv.cfg.Metrics.Logins.WithLabelValues(s.srv.cfg.Mode.String(), "accepted").Inc()
	s.w.log.Info("login", "account", uint64(who.Account), "remote", s.w.remote)
	return nil
}

// denied answers a login that failed, and ends the connection after too many.
func (s *session) denied(err error) error {
	if !errors.Is(err, store.ErrDenied) {
		s.srv.cfg.Metrics.Logins.WithLabelValues(s.srv.cfg.Mode.String(), "unavailable").Inc()
		s.w.log.Warn("login not checked", "remote", s.w.remote, "err", err)
		return reply(454, 4, 7, 0, "Logins cannot be checked just now, try again later") // RFC 4954 §6
	}
	s.srv.cfg.Metrics.Logins.WithLabelValues(s.srv.cfg.Mode.String(), "denied").Inc()
	s.w.log.Info("login denied", "remote", s.w.remote)
	if s.failed++; s.failed >= s.srv.cfg.Limits.FailedLogins {
		s.w.endAfterReply()
		return reply(421, 4, 7, 0, "Too many failed logins, closing connection")
	}
	return gosmtp.ErrAuthFailed
}

// loginServer is the LOGIN mechanism, which was never standardised and which old clients still need: two challenges, user and password.
type loginServer struct {
	login func(user, password string) error
	user  *string
	asked bool
}

// Next implements sasl.Server.
func (l *loginServer) Next(response []byte) ([]byte, bool, error) {
	switch {
	case response == nil && !l.asked:
		l.asked = true
		return []byte("Username:"), false, nil
	case response == nil:
		return nil, false, sasl.ErrUnexpectedClientResponse
	case l.user == nil:
		user := string(response)
		l.user, l.asked = &user, true
		return []byte("Password:"), false, nil
	}
	return nil, true, l.login(*l.user, string(response))
}
