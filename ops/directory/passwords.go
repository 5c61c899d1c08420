package directory

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// newPassword checks a password that a person chose.
func (d *Directory) newPassword(password string) error {
	if _, err := sasl.Prepare(password); err != nil {
		return fmt.Errorf("%w: %w", err, store.ErrInvalid)
	}
	if least := d.secrets.tuning.Load().minPassword; utf8.RuneCountInString(password) < least {
		return fmt.Errorf("password: fewer than %d characters: %w", least, store.ErrInvalid)
	}
	return nil
}

// SetPassword changes an account's own password; its app passwords stay. store.ErrNotFound, store.ErrInvalid.
func (d *Directory) SetPassword(ctx context.Context, address, password string) error {
	a, err := d.find(ctx, address)
	if err != nil {
		return err
	}
	if err := d.newPassword(password); err != nil {
		return err
	}
	kept, err := d.kept(a.GetId(), passwordID)
	if err != nil {
		return err
	}
	cred, err := d.secrets.credential(ctx, password, d.cfg.Now(), kept)
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
	id, err := d.freshID(store.AccountID(a.GetId()))
	if err != nil {
		return AppPassword{}, err
	}
	p := AppPassword{ID: id, Label: label, Created: d.cfg.Now(), Password: sasl.NewAppPassword()}
	kept, err := d.kept(a.GetId(), id)
	if err != nil {
		return AppPassword{}, err
	}
	keys, err := d.secrets.scramFor(ctx, p.Password, kept)
	if err != nil {
		return AppPassword{}, fmt.Errorf("make the SCRAM keys: %w", unavailable(err))
	}
	return p, d.putCredential(ctx, a, &storepb.Credential{Id: id, Kind: kindApp, Argon2: sasl.HashRandom(p.Password), Scram: keys.String(), Label: label,
		CreatedUnixMs: p.Created.UnixMilli()})
}

// freshID makes an id for an app password that the account does not have yet.
func (d *Directory) freshID(account store.AccountID) (string, error) {
	taken := map[string]bool{}
	err := d.local(func(v *state.View) error {
		creds, err := v.Credentials(account)
		for _, c := range creds {
			taken[c.GetId()] = true
		}
		return none(err)
	})
	if err == nil && len(taken) > MaxAppPasswords {
		err = fmt.Errorf("app password: the account has %d already: %w", MaxAppPasswords, store.ErrInvalid)
	}
	for err == nil {
		if id := sasl.NewPassword()[:6]; !taken[id] {
			return id, nil
		}
	}
	return "", err
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
