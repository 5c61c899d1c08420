package sasl

import "sync"

// Logins knows whose sessions S are open, by account A, so that they can be ended once the login is good no longer. The zero value is ready. It
// may be used by many at once.
type Logins[S, A comparable] struct {
	mu      sync.Mutex
	open    map[S]A // guarded by mu
	revoked uint64  // calls of Revoke; guarded by mu
}

// Check calls verify, which checks a password, again until no login was revoked meanwhile, and notes whose session s is then: a session never
// outlives its password. Errors are those of verify.
func (l *Logins[S, A]) Check(s S, verify func() (A, error)) error {
	for {
		since := l.revocations()
		account, err := verify()
		if err != nil || l.enter(s, account, since) {
			return err
		}
	}
}

func (l *Logins[S, A]) revocations() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revoked
}

func (l *Logins[S, A]) enter(s S, account A, since uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.revoked != since {
		return false
	}
	if l.open == nil {
		l.open = map[S]A{}
	}
	l.open[s] = account
	return true
}

// Revoke calls end for every session of an account; the zero account stands for every one. No session that it misses was checked before the
// call. end must be fast, and not use l.
func (l *Logins[S, A]) Revoke(account A, end func(S)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revoked++
	var every A
	for s, a := range l.open {
		if a == account || account == every {
			end(s)
		}
	}
}

// Forget is the end of a session, whether it logged in or not.
func (l *Logins[S, A]) Forget(s S) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, s)
}
