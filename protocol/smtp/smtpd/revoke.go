package smtpd

import (
	"context"

	"github.com/quorumail/quorumail/store"
)

// EndSessions ends the sessions of an account, because its password was changed, or it was suspended or removed; account 0 stands for every
// one. They end with 421 before the next command, also within a transaction, but a message whose DATA has begun is taken. It does not wait for
// them.
func (s *Server) EndSessions(account store.AccountID) {
	s.logins.Revoke(account, func(w *wire) {
		w.end("421 4.7.0 " + s.cfg.Hostname + " This login is no longer good, closing connection")
	})
}

// verify checks a password so that the session does not outlive it.
func (s *session) verify(ctx context.Context, user, password string) (Identity, error) {
	return s.check(func() (Identity, error) { return s.srv.cfg.Auth.Authenticate(ctx, s.w.remote, user, password) })
}

// check does so with any way to check.
func (s *session) check(verify func() (Identity, error)) (who Identity, err error) {
	err = s.srv.logins.Check(s.w, func() (store.AccountID, error) {
		var err error
		who, err = verify()
		return who.Account, err
	})
	return who, err
}
