package directory

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"strings"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Kinds of credentials, and the id of the account's own password.
const (
	kindPassword = "password"
	kindApp      = "app"
	passwordID   = "password"
)

// SetPassword changes an account's own password; its app passwords stay. store.ErrNotFound, store.ErrInvalid.
func (d *Directory) SetPassword(ctx context.Context, address, password string) error {
	if err := newPassword(password); err != nil {
		return err
	}
	a, err := d.find(ctx, address)
	if err != nil {
		return err
	}
	cred, err := d.secrets.credential(ctx, passwordID, kindPassword, "", password, d.cfg.Now())
	if err != nil {
		return err
	}
	return d.putCredential(ctx, a, cred)
}

func (d *Directory) putCredential(ctx context.Context, a *storepb.Account, cred *storepb.Credential) error {
	_, err := d.propose(ctx, "set a password of "+a.GetAddress(), func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_PutCredential{PutCredential: &storepb.PutCredential{Account: a.GetId(), Credential: cred}}
	})
	return err
}

// An app password is five groups of four letters and digits: the first names it, so that a login tries one hash and not each; the others
// are 80 random bits.
var appAlphabet = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

const appGroup = 4

// newAppPassword makes an app password and its id.
func newAppPassword() (id, password string) {
	raw := make([]byte, 13)
	_, _ = rand.Read(raw) // never fails: it ends the process rather than return an error
	letters := appAlphabet.EncodeToString(raw)[:5*appGroup]
	groups := make([]string, 0, 5)
	for ; letters != ""; letters = letters[appGroup:] {
		groups = append(groups, letters[:appGroup])
	}
	return groups[0], strings.Join(groups, "-")
}

// appID is the id in something that looks like an app password, or "". People copy them without the hyphens, too.
func appID(password string) (id, normal string) {
	letters := strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(password), "-", ""), " ", "")
	if len(letters) != 5*appGroup {
		return "", ""
	}
	groups := make([]string, 0, 5)
	for ; letters != ""; letters = letters[appGroup:] {
		groups = append(groups, letters[:appGroup])
	}
	return groups[0], strings.Join(groups, "-")
}

// AddAppPassword makes a password for one program. It is shown once. store.ErrNotFound, store.ErrInvalid.
func (d *Directory) AddAppPassword(ctx context.Context, address, label string) (AppPassword, error) {
	label, err := text("label", label)
	if err != nil {
		return AppPassword{}, err
	}
	d.change.Lock()
	defer d.change.Unlock()
	a, err := d.find(ctx, address)
	if err != nil {
		return AppPassword{}, err
	}
	id, password, err := d.freshAppPassword(store.AccountID(a.GetId()))
	if err != nil {
		return AppPassword{}, err
	}
	cred, err := d.secrets.credential(ctx, id, kindApp, label, password, d.cfg.Now())
	if err != nil {
		return AppPassword{}, err
	}
	if err := d.putCredential(ctx, a, cred); err != nil {
		return AppPassword{}, err
	}
	return AppPassword{ID: id, Label: label, Password: password}, nil
}

// freshAppPassword makes an app password whose id the account does not have yet.
func (d *Directory) freshAppPassword(account store.AccountID) (id, password string, err error) {
	taken := map[string]bool{}
	err = d.local(func(v *state.View) error {
		creds, err := v.Credentials(account)
		for _, c := range creds {
			taken[c.GetId()] = true
		}
		return none(err)
	})
	if err == nil && len(taken) > MaxAppPasswords {
		err = fmt.Errorf("app password: the account has %d already: %w", MaxAppPasswords, store.ErrInvalid)
	}
	if err != nil {
		return "", "", err
	}
	for {
		if id, password = newAppPassword(); !taken[id] {
			return id, password, nil
		}
	}
}

// RemoveAppPassword ends an app password. store.ErrNotFound.
func (d *Directory) RemoveAppPassword(ctx context.Context, address, id string) error {
	a, err := d.find(ctx, address)
	if err != nil {
		return err
	}
	err = d.local(func(v *state.View) error {
		creds, err := v.Credentials(store.AccountID(a.GetId()))
		for _, c := range creds {
			if c.GetId() == id && c.GetKind() == kindApp {
				return nil
			}
		}
		if none(err) != nil {
			return err
		}
		return fmt.Errorf("app password %s of %s: %w", id, a.GetAddress(), store.ErrNotFound)
	})
	if err != nil {
		return err
	}
	_, err = d.propose(ctx, "remove app password "+id+" of "+a.GetAddress(), func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_RemoveCredential{RemoveCredential: &storepb.RemoveCredential{Account: a.GetId(), Id: id}}
	})
	return err
}
