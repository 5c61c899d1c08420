package smtpd

import (
	"crypto/tls"
	"errors"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	own "github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/store"
)

// AuthMechanisms implements go-smtp's AuthSession: what EHLO offers.
func (s *session) AuthMechanisms() []string {
	if !s.mayAuth() {
		return nil
	}
	offer := []string{sasl.Plain, sasl.Login, own.MechanismSCRAM}
	if s.binding() != nil {
		offer = append(offer, own.MechanismSCRAMPlus)
	}
	return offer
}

// binding is what binds a login to this TLS connection (RFC 9266 §4.2); nil: nothing does. Before TLS 1.3 it is not unique in all cases.
func (s *session) binding() []byte {
	if s.w.tls == nil || s.w.tls.Version < tls.VersionTLS13 {
		return nil
	}
	key, err := s.w.tls.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		s.w.log.Warn("export keying material", "err", err)
		return nil
	}
	return key
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
		return plainServer{s}, nil
	case sasl.Login:
		return &loginServer{login: s.login}, nil
	case own.MechanismSCRAM:
		return s.scram(false, s.binding()), nil
	case own.MechanismSCRAMPlus:
		if binding := s.binding(); binding != nil {
			return s.scram(true, binding), nil
		}
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
	s.loggedIn(who)
	return nil
}

// loggedIn is the end of a login.
func (s *session) loggedIn(who Identity) {
	s.who, s.authed = who, true
	s.w.setAuthed()
	s.srv.cfg.Metrics.Logins.WithLabelValues(s.srv.cfg.Mode.String(), "accepted").Inc()
	s.w.log.Info("login", "account", uint64(who.Account), "remote", s.w.remote)
}

// scramServer is a login by SCRAM-SHA-256 as the library drives it.
type scramServer struct {
	s        *session
	exchange own.SCRAMExchange
	who      Identity
}

func (s *session) scram(plus bool, binding []byte) *scramServer {
	l := &scramServer{s: s}
	l.exchange = own.SCRAMExchange{Plus: plus, Binding: binding, Parameters: l.parameters, Finish: l.finish}
	return l
}

// Next implements sasl.Server.
func (l *scramServer) Next(response []byte) ([]byte, bool, error) {
	challenge, done, err := l.exchange.Next(response)
	switch {
	case errors.Is(err, own.ErrResponse):
		l.s.w.log.Info("login not understood", "remote", l.s.w.remote, "err", err)
		return nil, false, reply(501, 5, 5, 2, "That is no response of SCRAM-SHA-256") // RFC 4954 §4
	case err != nil:
		return nil, false, l.s.denied(err)
	case done:
		l.s.loggedIn(l.who) // the client has seen that the server knows the password, too
	}
	return challenge, done, nil
}

func (l *scramServer) parameters(user string) ([]byte, int, error) {
	if err := l.s.srv.cfg.Store.Ready(); err != nil && !errors.Is(err, store.ErrNoSpace) {
		return nil, 0, err
	}
	ctx, cancel := l.s.lookup()
	defer cancel()
	return l.s.srv.cfg.Auth.SCRAMParameters(ctx, user)
}

func (l *scramServer) finish(user string, proves func(own.SCRAM) bool) (err error) {
	ctx, cancel := l.s.lookup()
	defer cancel()
	l.who, err = l.s.check(func() (Identity, error) {
		return l.s.srv.cfg.Auth.FinishSCRAM(ctx, l.s.w.remote, user, proves)
	})
	return err
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
	if s.failed++; s.failed >= s.w.counts.FailedLogins {
		s.w.endAfterReply()
		return reply(421, 4, 7, 0, "Too many failed logins, closing connection")
	}
	return gosmtp.ErrAuthFailed
}

// plainServer is the PLAIN mechanism.
type plainServer struct{ s *session }

// Next implements sasl.Server.
func (l plainServer) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		return nil, false, nil // it comes without the name of the mechanism
	}
	p, err := own.DecodePlain(response)
	switch {
	case err != nil:
		l.s.w.log.Info("login not understood", "remote", l.s.w.remote, "err", err)
		return nil, false, reply(501, 5, 5, 2, "That is no response of PLAIN") // RFC 4954 §4
	case p.Identity != "" && p.Identity != p.User:
		return nil, true, l.s.denied(store.ErrDenied) // nobody acts for others
	}
	return nil, true, l.s.login(p.User, p.Password)
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
		if len(user) > own.MaxUserBytes {
			return nil, false, reply(501, 5, 5, 2, "That is no user name")
		}
		l.user, l.asked = &user, true
		return []byte("Password:"), false, nil
	case len(response) > own.MaxPasswordBytes:
		return nil, false, reply(501, 5, 5, 2, "That is no password")
	}
	return nil, true, l.login(*l.user, string(response))
}
