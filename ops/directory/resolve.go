package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/protocol/smtp/smtpd"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Resolve lists who gets an address's mail, aliases, groups, catch-all and plus-addressing followed: mailboxes here, and addresses elsewhere to
// which an alias, a group or a catch-all passes it on (Recipient.Remote). store.ErrNotFound: the domain is of
// this site and nobody does; smtpd.ErrNotLocal: the domain is not of this site; store.ErrUnavailable: the domain is
// suspended, so that senders keep the mail for a while.
//
// A refusal is for ever, and what a catch-all takes is gone for its owner, so an address that this node's copy does not know exactly is looked
// up again behind a read barrier: it may have been made at another node a moment ago.
func (d *Directory) Resolve(ctx context.Context, address smtp.Address) ([]state.Recipient, error) {
	list, err := resolve(d.local, address)
	known := err == nil && d.exact(address)
	if known || err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, smtpd.ErrNotLocal) {
		return list, err
	}
	return resolve(func(f func(*state.View) error) error { return d.read(ctx, f) }, address)
}

// exact tells whether the address itself is an account's or an alias's in this node's copy.
func (d *Directory) exact(address smtp.Address) bool {
	return d.local(func(v *state.View) error {
		_, err := v.AccountByAddress(address.Canonical())
		if errors.Is(err, store.ErrNotFound) {
			_, err = v.Alias(address.Canonical())
		}
		return err
	}) == nil
}

func resolve(read func(func(*state.View) error) error, address smtp.Address) ([]state.Recipient, error) {
	var list []state.Recipient
	err := read(func(v *state.View) error {
		domain, err := v.Domain(address.Domain)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("resolve %s: %w", address, smtpd.ErrNotLocal)
		case err != nil:
			return err
		case domain.GetSuspended():
			return fmt.Errorf("resolve %s: the domain is suspended: %w", address, store.ErrUnavailable)
		}
		list, err = v.Resolve(address.Canonical())
		if errors.Is(err, store.ErrNotFound) && isPostmaster(address) {
			list, err = postmaster(v) // RFC 5321 §4.5.1: every domain has one
		}
		return err
	})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("resolve %s: %w", address, store.ErrNotFound)
	}
	return list, err
}

func isPostmaster(a smtp.Address) bool { return strings.EqualFold(a.Local, "postmaster") }

// Postmaster lists who gets mail to <postmaster> without a domain: that of the first domain that has one, else the oldest
// account.
func (d *Directory) Postmaster(context.Context) ([]state.Recipient, error) {
	var list []state.Recipient
	err := d.local(func(v *state.View) (err error) {
		list, err = postmaster(v)
		return err
	})
	return list, err
}

func postmaster(v *state.View) ([]state.Recipient, error) {
	var wanted []string
	domains, err := v.Domains()
	if err != nil {
		return nil, err
	}
	for _, domain := range domains {
		wanted = append(wanted, "postmaster@"+domain.GetName())
	}
	for _, address := range wanted {
		list, err := v.Resolve(address)
		switch {
		case none(err) != nil:
			return nil, err
		case err == nil && len(list) > 0:
			return list, nil
		}
	}
	var oldest *storepb.Account
	err = eachAccount(v, func(a *storepb.Account) error {
		if oldest == nil || a.GetId() < oldest.GetId() {
			oldest = a
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case oldest == nil:
		return nil, fmt.Errorf("find the postmaster: there is no account: %w", store.ErrNotFound)
	}
	return []state.Recipient{{Account: store.AccountID(oldest.GetId()), Address: oldest.GetAddress(), Suspended: oldest.GetSuspended()}}, nil
}

// Room is store.ErrOverQuota when a message of that many bytes would take the account over its quota, as far as this node's copy knows.
// It spares senders the transfer of what would be refused; the same quota, [state.View.Quota], decides when the message is placed.
func (d *Directory) Room(_ context.Context, id store.AccountID, sizeBytes int64) error {
	return d.local(func(v *state.View) error {
		a, err := v.Account(id)
		if err != nil {
			return err
		}
		used, err := v.Usage(id)
		if err != nil {
			return err
		}
		bytes, messages, err := v.Quota(a)
		if err != nil {
			return err
		}
		if bytes > 0 && used.GetBytes()+sizeBytes > bytes || bytes > 0 && used.GetBytes() >= bytes || messages > 0 && used.GetMessages() >= messages {
			return fmt.Errorf("account %s: %w", a.GetAddress(), store.ErrOverQuota)
		}
		return nil
	})
}

// MaySendAs says whether an account may name an address as its sender: its own, one that leads to it by aliases or a group, and those made
// of these with plus-addressing. A catch-all gives nobody an address.
func (d *Directory) MaySendAs(ctx context.Context, id store.AccountID, address smtp.Address) (bool, error) {
	ok, err := d.maySendAs(d.local, id, address)
	if ok || err != nil {
		return ok, err
	}
	return d.maySendAs(func(f func(*state.View) error) error { return d.read(ctx, f) }, id, address) // as in Resolve
}

func (d *Directory) maySendAs(read func(func(*state.View) error) error, id store.AccountID, address smtp.Address) (bool, error) {
	ok := false
	err := read(func(v *state.View) error {
		a, err := v.Account(id)
		if err != nil {
			return none(err)
		}
		own := d.base(address).Canonical()
		if a.GetAddress() == own || a.GetAddress() == address.Canonical() {
			ok = true
			return nil
		}
		if _, err := v.Alias(own); err != nil {
			if _, err = v.Alias(address.Canonical()); err != nil {
				return none(err)
			}
		}
		list, err := v.Resolve(address.Canonical())
		for _, r := range list {
			ok = ok || !r.Remote && r.Account == id // an address elsewhere to which mail is passed on is nobody's here
		}
		return none(err)
	})
	return ok, err
}
