package directory

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"

	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// SCRAM sends the client one salt before it knows which password it has. So all passwords of an account, its own and those for programs, have
// keys with the same salt and iterations: those that the account's first one was made with. They change with the account's own password, unless
// there are others.

// SCRAMParameters are what the keys of an account were made with. For an address that nobody has, or whose account has no keys, they are made up:
// the same at each time and node. store.ErrUnavailable.
func (d *Directory) SCRAMParameters(ctx context.Context, user string) (salt []byte, iterations int, err error) {
	name := canonicalUser(user)
	l, err := d.lookUp(ctx, name)
	if err != nil {
		return nil, 0, fmt.Errorf("look up the keys of a login: %w", unavailable(err))
	}
	if l != nil {
		if keys := l.keys(); len(keys) > 0 {
			return keys[0].Salt, keys[0].Iterations, nil
		}
	}
	key, err := d.saltKey()
	if err != nil {
		return nil, 0, fmt.Errorf("look up the keys of a login: %w", unavailable(err))
	}
	return sasl.FakeSalt(key, name), d.secrets.tuning.Load().scramRounds, nil
}

func canonicalUser(user string) string {
	address, err := smtp.ParseAddress(user)
	if err != nil {
		return "" // all that is no address counts together
	}
	return address.Canonical()
}

func (d *Directory) saltKey() ([]byte, error) {
	if d.cfg.SaltKey == nil {
		return d.ownSaltKey, nil
	}
	return d.cfg.SaltKey()
}

// scramKeys are those of one credential.
type scramKeys struct {
	sasl.SCRAM
	of *storepb.Credential
}

// keys are the keys of an account that share the first ones' salt, its own password's first.
func (l *login) keys() []scramKeys {
	var own, others []scramKeys
	for _, c := range l.credentials {
		keys, err := sasl.ParseSCRAM(c.GetScram())
		switch {
		case err != nil: // none, or unreadable: then it is nobody's
		case c.GetKind() == kindPassword:
			own = append(own, scramKeys{keys, c})
		default:
			others = append(others, scramKeys{keys, c})
		}
	}
	var same []scramKeys
	for _, k := range append(own, others...) {
		if len(same) == 0 || string(k.Salt) == string(same[0].Salt) && k.Iterations == same[0].Iterations {
			same = append(same, k)
		}
	}
	return same
}

// FinishSCRAM ends a login: proves tells whether the client showed that it knows the password of these keys. Errors are those of Authenticate;
// failures count as those of a password do.
func (d *Directory) FinishSCRAM(ctx context.Context, remote netip.Addr, user string, proves func(sasl.SCRAM) bool) (Identity, error) {
	name := canonicalUser(user)
	return d.attempt(remote, name, rand.Text(), func() (Identity, error) { // a proof does not show whether it is the same wrong password again
		l, err := d.lookUp(ctx, name)
		switch {
		case err != nil:
			return Identity{}, fmt.Errorf("log in: %w", unavailable(err))
		case l == nil:
			return Identity{}, fmt.Errorf("log in: %w", store.ErrDenied)
		}
		for _, k := range l.keys() {
			if proves(k.SCRAM) {
				return l.identity(k.of)
			}
		}
		return Identity{}, fmt.Errorf("log in: %w", store.ErrDenied)
	})
}

// scramFor makes the keys of a further password of an account, with the salt of those that it keeps; nil: there are none.
func (s *secrets) scramFor(ctx context.Context, password string, kept []*storepb.Credential) (sasl.SCRAM, error) {
	if keys := (&login{credentials: kept}).keys(); len(keys) > 0 {
		return s.hasher.DeriveSCRAM(ctx, password, keys[0].Salt, keys[0].Iterations)
	}
	return s.hasher.SCRAM(ctx, password, s.tuning.Load().scramRounds)
}

// kept lists the credentials of an account that stay when the one with an id is replaced.
func (d *Directory) kept(account uint64, id string) ([]*storepb.Credential, error) {
	var list []*storepb.Credential
	err := d.local(func(v *state.View) error {
		creds, err := v.Credentials(store.AccountID(account))
		for _, c := range creds {
			if c.GetId() != id {
				list = append(list, c)
			}
		}
		return none(err)
	})
	return list, err
}

// newSaltKey is for a directory that was given none.
func newSaltKey() []byte { return []byte(rand.Text()) }
