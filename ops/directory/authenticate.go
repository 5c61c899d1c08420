package directory

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/quorumail/quorumail/protocol/smtp"
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

// MaxPasswordBytes bounds what is hashed; a longer password is wrong.
const MaxPasswordBytes = 1024

// Authenticate checks a password. Its errors are store.ErrDenied — the address is unknown, the password wrong, the account suspended or
// attempts too frequent, and it does not say which — and store.ErrUnavailable. An unknown address takes as long as a wrong password.
func (d *Directory) Authenticate(ctx context.Context, remote netip.Addr, user, password string) (Identity, error) {
	address, err := smtp.ParseAddress(user)
	known := err == nil
	name := "" // all that is no address counts together
	if known {
		name = address.Canonical()
	}
	attempt, wait := d.secrets.throttle.Try(remote, name)
	if wait > 0 {
		d.cfg.Metrics.Logins.WithLabelValues("slowed").Inc()
		return Identity{}, fmt.Errorf("log in: attempts are too frequent: %w", store.ErrDenied)
	}
	id, err := d.check(ctx, name, password)
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

func (d *Directory) check(ctx context.Context, address, password string) (Identity, error) {
	l, err := d.lookUp(ctx, address)
	if err != nil {
		return Identity{}, err
	}
	if l == nil || len(password) > MaxPasswordBytes {
		if err := d.secrets.dummy(ctx, password); err != nil {
			return Identity{}, fmt.Errorf("log in: %w", unavailable(err))
		}
		return Identity{}, fmt.Errorf("log in: %w", store.ErrDenied)
	}
	used, ok, err := d.secrets.verify(ctx, l, password)
	switch {
	case err != nil:
		return Identity{}, fmt.Errorf("log in: %w", unavailable(err))
	case !ok, l.account.GetSuspended():
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

// FailedLogins takes what this node has to tell the others of failed logins since the last call; nil when there is nothing.
func (d *Directory) FailedLogins() []byte { return d.secrets.throttle.Export(maxBatchBytes) }

// Receive counts the failed logins that another node told of.
func (d *Directory) Receive(batch []byte) error { return d.secrets.throttle.Import(batch) }

// maxBatchBytes bounds one batch of failed logins.
const maxBatchBytes = 32 << 10
