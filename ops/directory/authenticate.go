package directory

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Identity is who logged in.
type Identity struct {
	Account     store.AccountID
	Address     string // canonical
	AppPassword string // id of the app password that was used; "" for the account's own
}

// Authenticate checks a password. Its errors are store.ErrDenied (the address is unknown, the password wrong, the account suspended or tries
// too frequent: it does not say which) and store.ErrUnavailable. An unknown address takes as long as a wrong password.
func (d *Directory) Authenticate(ctx context.Context, remote netip.Addr, user, password string) (Identity, error) {
	name := canonicalUser(user)
	return d.attempt(remote, name, password, func() (Identity, error) { return d.check(ctx, name, password) })
}

// attempt checks a login, unless tries are too frequent, and counts how it went.
func (d *Directory) attempt(remote netip.Addr, name, password string, check func() (Identity, error)) (Identity, error) {
	attempt, wait := d.secrets.throttle.Try(remote, name)
	if wait > 0 {
		d.cfg.Metrics.Logins.WithLabelValues("slowed").Inc()
		return Identity{}, fmt.Errorf("log in: tries are too frequent: %w", store.ErrDenied)
	}
	id, err := check()
	switch {
	case err == nil:
		attempt.Succeeded()
		d.cfg.Metrics.Logins.WithLabelValues("accepted").Inc()
	case errors.Is(err, store.ErrDenied):
		attempt.Failed(password)
		d.cfg.Metrics.Logins.WithLabelValues("denied").Inc()
	default:
		attempt.Cancelled()
		d.cfg.Metrics.Logins.WithLabelValues("unavailable").Inc()
	}
	return id, err
}

// login is what a check needs of the state.
type login struct {
	account     *storepb.Account
	credentials []*storepb.Credential
}

// credential finds one by its id; nil: there is none.
func (l *login) credential(id string) *storepb.Credential {
	for _, c := range l.credentials {
		if c.GetId() == id {
			return c
		}
	}
	return nil
}

func (d *Directory) check(ctx context.Context, address, password string) (Identity, error) {
	l, err := d.lookUp(ctx, address)
	if err != nil {
		return Identity{}, err
	}
	var used *storepb.Credential
	if l != nil {
		used, err = d.secrets.verify(ctx, l, password)
	} else {
		err = d.secrets.nobody(ctx, password)
	}
	switch {
	case err != nil:
		return Identity{}, fmt.Errorf("log in: %w", unavailable(err))
	case used == nil:
		return Identity{}, fmt.Errorf("log in: %w", store.ErrDenied)
	}
	return l.identity(used)
}

// identity is who logged in with a credential.
func (l *login) identity(used *storepb.Credential) (Identity, error) {
	if l.account.GetSuspended() {
		return Identity{}, fmt.Errorf("log in: %w", store.ErrDenied)
	}
	id := Identity{Account: store.AccountID(l.account.GetId()), Address: l.account.GetAddress()}
	if used.GetKind() == kindApp {
		id.AppPassword = used.GetId()
	}
	return id, nil
}

// lookUp reads the account behind a canonical address; nil: there is none.
func (d *Directory) lookUp(ctx context.Context, address string) (*login, error) {
	var l *login
	err := d.read(ctx, func(v *state.View) error {
		a, err := v.AccountByAddress(address)
		if err != nil {
			return none(err)
		}
		creds, err := v.Credentials(store.AccountID(a.GetId()))
		if err != nil {
			return none(err)
		}
		l = &login{a, creds}
		return nil
	})
	return l, err
}

// none makes nothing of ErrNotFound.
func none(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// unavailable gives an error that none of the store's stands for the meaning that nothing happened.
func unavailable(err error) error {
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}
