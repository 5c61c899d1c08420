package smtpd

import (
	"context"

	"github.com/quorumail/quorumail/store"
)

// EndSessions ends the sessions of an account, because its password was changed, or it was suspended or removed: with 421 before the next
// command, also within a transaction, but a message whose DATA has begun is taken. It does not wait for them.
func (s *Server) EndSessions(account store.AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked++
	for w := range s.wires {
		if w.account == account {
			w.end("421 4.7.0 " + s.cfg.Hostname + " This login is no longer good, closing connection")
		}
	}
}

// verify asks until no login was revoked meanwhile, so that a session never outlives its password.
func (s *session) verify(ctx context.Context, user, password string) (Identity, error) {
	for {
		since := s.srv.revocations()
		who, err := s.srv.cfg.Auth.Authenticate(ctx, s.w.remote, user, password)
		if err != nil || s.srv.loggedIn(s.w, who.Account, since) {
			return who, err
		}
	}
}

func (s *Server) revocations() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revoked
}

// loggedIn notes whose connection it is. It is false when a login was revoked since the given count: then this one must be checked again.
func (s *Server) loggedIn(w *wire, account store.AccountID, since uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revoked != since {
		return false
	}
	w.account = account
	return true
}
