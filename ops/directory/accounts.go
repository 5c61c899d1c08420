package directory

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// AccountChange is what an account shall be. Nil leaves a field as it is.
type AccountChange struct {
	Name          *string // the owner's
	QuotaBytes    *int64  // 0: the cluster's default (account.quota_bytes); store.Unlimited: no limit
	QuotaMessages *int64  // 0: the cluster's default (account.quota_messages); store.Unlimited: no limit
	Suspended     *bool   // refuse logins; its mail waits in the queue "local" until the account is suspended no more
}

// AccountInfo is an account as it stands.
type AccountInfo struct {
	ID            store.AccountID
	Address       string
	Name          string
	QuotaBytes    int64 // its own, as in AccountChange
	QuotaMessages int64
	LimitBytes    int64 // what counts: its own quota or the cluster's default; 0: no limit
	LimitMessages int64
	UsedBytes     int64
	UsedMessages  int64
	Suspended     bool
	AppPasswords  []AppPassword
}

// AppPassword is a password for one program.
type AppPassword struct {
	ID       string
	Label    string
	Created  time.Time
	Password string // only in the answer to its making
}

func (c AccountChange) apply(a *storepb.Account) (err error) {
	if c.Name != nil {
		if a.DisplayName, err = text("name", *c.Name); err != nil {
			return err
		}
	}
	for _, q := range []struct {
		what string
		from *int64
		to   *int64
	}{{"bytes", c.QuotaBytes, &a.QuotaBytes}, {"messages", c.QuotaMessages, &a.QuotaMessages}} {
		if q.from == nil {
			continue
		}
		if *q.from < store.Unlimited {
			return fmt.Errorf("quota of %s: %d is less than nothing: %w", q.what, *q.from, store.ErrInvalid)
		}
		*q.to = *q.from
	}
	if c.Suspended != nil {
		a.Suspended = *c.Suspended
	}
	return nil
}

// CreateAccount makes an account with its mailboxes and its password. store.ErrExists; store.ErrNotFound when the domain is not of this site.
func (d *Directory) CreateAccount(ctx context.Context, address, password string, c AccountChange) (store.AccountID, error) {
	a, err := d.accountAddress(address)
	if err != nil {
		return 0, err
	}
	record := &storepb.Account{Address: a.Canonical(), CreatedUnixMs: d.cfg.Now().UnixMilli()}
	if err := c.apply(record); err != nil {
		return 0, err
	}
	if err := d.newPassword(password); err != nil {
		return 0, err
	}
	if err := d.free(ctx, a.Canonical()); err != nil {
		return 0, err
	}
	cred, err := d.secrets.credential(ctx, password, d.cfg.Now(), nil)
	if err != nil {
		return 0, err
	}
	res, err := d.propose(ctx, "create account "+a.Canonical(), func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: record, Create: true, Credentials: []*storepb.Credential{cred}}}
	})
	return store.AccountID(res.GetId()), err
}

// free is nil when a canonical address is of a domain of this site and nobody's.
func (d *Directory) free(ctx context.Context, address string) error {
	return d.read(ctx, func(v *state.View) error {
		if _, err := v.Domain(domainOf(address)); err != nil {
			return fmt.Errorf("domain %s: add it first: %w", domainOf(address), err)
		}
		if _, err := v.AccountByAddress(address); !errors.Is(err, store.ErrNotFound) {
			return existing("account", address, err)
		}
		if _, err := v.Alias(address); !errors.Is(err, store.ErrNotFound) {
			return existing("alias or group", address, err)
		}
		return nil
	})
}

func existing(what, address string, err error) error {
	if err == nil {
		err = store.ErrExists
	}
	return fmt.Errorf("%s %s: %w", what, address, err)
}

// setTries is how often a change is tried on top of those that others make in the same moment.
const setTries = 20

// SetAccount changes an account. store.ErrNotFound, store.ErrInvalid; store.ErrConflict when others keep changing it.
func (d *Directory) SetAccount(ctx context.Context, address string, c AccountChange) (err error) {
	for range setTries {
		if err = d.setAccount(ctx, address, c); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return err
}

// setAccount changes the account as it was read, or not at all: a field that another administrator changed at another node in the same
// moment must not be set back.
func (d *Directory) setAccount(ctx context.Context, address string, c AccountChange) error {
	a, err := d.find(ctx, address)
	if err != nil {
		return err
	}
	if err := c.apply(a); err != nil {
		return err
	}
	_, err = d.propose(ctx, "set account "+a.GetAddress(), func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: a}}
	})
	return err
}

// RemoveAccount removes an account and its mail. store.ErrNotFound. Where that is very much mail, the account is suspended, and then its mail
// goes in parts; if that ends early, the account stays suspended, and RemoveAccount goes on when it is called again. Mail that arrives
// meanwhile is taken in and removed with the account, as if it had come just before.
func (d *Directory) RemoveAccount(ctx context.Context, address string) error {
	a, err := d.find(ctx, address)
	if err != nil {
		return err
	}
	err = replica.RemoveWhole(ctx, d.cfg.Store.Propose, func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_RemoveAccount{RemoveAccount: &storepb.RemoveAccount{Account: a.GetId()}}
	}, func(ctx context.Context) error {
		suspended := true
		if err := d.SetAccount(ctx, a.GetAddress(), AccountChange{Suspended: &suspended}); err != nil {
			return err
		}
		return d.emptyAccount(ctx, store.AccountID(a.GetId()))
	})
	if err != nil {
		return fmt.Errorf("remove account %s: %w", a.GetAddress(), err)
	}
	return nil
}

// emptyAccount expunges the mail of all mailboxes.
func (d *Directory) emptyAccount(ctx context.Context, id store.AccountID) error {
	var boxes []*storepb.Mailbox
	if err := d.local(func(v *state.View) (err error) {
		boxes, err = v.Mailboxes(id)
		return err
	}); err != nil {
		return err
	}
	read := func(f func(replica.MailboxReader) error) error {
		return d.local(func(v *state.View) error { return f(v) })
	}
	for _, mb := range boxes {
		if err := replica.Empty(ctx, d.cfg.Store.Propose, read, id, store.MailboxID(mb.GetId())); err != nil {
			return fmt.Errorf("empty the mailbox %s: %w", mb.GetName(), err)
		}
	}
	return nil
}

// find reads an account by its address.
func (d *Directory) find(ctx context.Context, address string) (*storepb.Account, error) {
	a, err := canonical(address)
	if err != nil {
		return nil, err
	}
	var found *storepb.Account
	err = d.read(ctx, func(v *state.View) (err error) {
		if found, err = v.AccountByAddress(a.Canonical()); err != nil {
			return fmt.Errorf("account %s: %w", a, err)
		}
		return nil
	})
	return found, err
}

// Account shows one account. store.ErrNotFound.
func (d *Directory) Account(ctx context.Context, address string) (AccountInfo, error) {
	a, err := d.find(ctx, address)
	if err != nil {
		return AccountInfo{}, err
	}
	var info AccountInfo
	err = d.local(func(v *state.View) error {
		info, err = accountInfo(v, a)
		return err
	})
	return info, err
}

// Accounts lists the accounts by address.
func (d *Directory) Accounts(ctx context.Context) ([]AccountInfo, error) {
	var list []AccountInfo
	err := d.read(ctx, func(v *state.View) error {
		return eachAccount(v, func(a *storepb.Account) error {
			info, err := accountInfo(v, a)
			list = append(list, info)
			return err
		})
	})
	sort.Slice(list, func(i, j int) bool { return list[i].Address < list[j].Address })
	return list, err
}

func accountInfo(v *state.View, a *storepb.Account) (AccountInfo, error) {
	id := store.AccountID(a.GetId())
	info := AccountInfo{ID: id, Address: a.GetAddress(), Name: a.GetDisplayName(), QuotaBytes: a.GetQuotaBytes(),
		QuotaMessages: a.GetQuotaMessages(), Suspended: a.GetSuspended()}
	used, err := v.Usage(id)
	if none(err) != nil {
		return info, err
	}
	info.UsedBytes, info.UsedMessages = used.GetBytes(), used.GetMessages()
	if info.LimitBytes, info.LimitMessages, err = v.Quota(a); err != nil {
		return info, err
	}
	creds, err := v.Credentials(id)
	for _, c := range creds {
		if c.GetKind() == kindApp {
			info.AppPasswords = append(info.AppPasswords, AppPassword{ID: c.GetId(), Label: c.GetLabel(), Created: time.UnixMilli(c.GetCreatedUnixMs())})
		}
	}
	return info, none(err)
}
