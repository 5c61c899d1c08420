package directory

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// DomainChange is what a domain shall be. Nil leaves a field as it is.
type DomainChange struct {
	CatchAll  *string // the address, here or elsewhere, that gets mail for unknown recipients; "": none
	Suspended *bool   // refuse its mail for now
}

// DomainInfo is a domain as it stands.
type DomainInfo struct {
	Name      string
	CatchAll  string
	Suspended bool
	Accounts  int
}

// CreateDomain begins to take a domain's mail. store.ErrExists, store.ErrInvalid.
func (d *Directory) CreateDomain(ctx context.Context, name string, c DomainChange) error {
	return d.putDomain(ctx, name, c, true)
}

// SetDomain changes a domain. store.ErrNotFound, store.ErrInvalid.
func (d *Directory) SetDomain(ctx context.Context, name string, c DomainChange) error {
	return d.putDomain(ctx, name, c, false)
}

func (d *Directory) putDomain(ctx context.Context, name string, c DomainChange, create bool) error {
	name, err := canonicalDomain(name)
	if err != nil {
		return err
	}
	d.change.Lock()
	defer d.change.Unlock()
	record := &storepb.Domain{Name: name, CreatedUnixMs: d.cfg.Now().UnixMilli()}
	err = d.read(ctx, func(v *state.View) error {
		old, err := v.Domain(name)
		switch {
		case create && err == nil:
			return fmt.Errorf("domain %s: %w", name, store.ErrExists)
		case create && errors.Is(err, store.ErrNotFound):
			return nil
		case err != nil:
			return fmt.Errorf("domain %s: %w", name, err)
		}
		record = old
		return nil
	})
	if err != nil {
		return err
	}
	if c.Suspended != nil {
		record.Suspended = *c.Suspended
	}
	if c.CatchAll != nil {
		if record.CatchAll, err = d.catchAll(ctx, *c.CatchAll); err != nil {
			return err
		}
	}
	_, err = d.propose(ctx, "put domain "+name, func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Domain: record, Create: create}}
	})
	return err
}

// catchAll checks that mail to the address would arrive, here or elsewhere.
func (d *Directory) catchAll(ctx context.Context, address string) (string, error) {
	if address == "" {
		return "", nil
	}
	a, err := canonical(address)
	if err != nil {
		return "", err
	}
	if err := d.delivers(ctx, a); err != nil {
		return "", fmt.Errorf("catch-all: %w", err)
	}
	return a.Canonical(), nil
}

// delivers is nil when the address is an account's, an alias or a group, or one of another system to which mail may go.
func (d *Directory) delivers(ctx context.Context, a smtp.Address) error {
	err := d.read(ctx, func(v *state.View) error {
		if _, err := v.Domain(a.Domain); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				err = errElsewhere
			}
			return err
		}
		_, err := v.AccountByAddress(d.base(a).Canonical())
		if errors.Is(err, store.ErrNotFound) {
			_, err = v.Alias(a.Canonical())
		}
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%s is neither an account nor an alias nor a group here: %w", a, store.ErrInvalid)
		}
		return err
	})
	if !errors.Is(err, errElsewhere) {
		return err
	}
	if err := d.Elsewhere(ctx, a); err != nil && !errors.Is(err, store.ErrUnavailable) { // what is not known now is known when mail comes
		return fmt.Errorf("no mail may go to %s (see: quorumail route list): %w: %w", a, err, store.ErrInvalid)
	}
	return nil
}

// errElsewhere: the domain is not of this site.
var errElsewhere = errors.New("the domain is not of this site")

// RemoveDomain ends the taking of a domain's mail. store.ErrConflict while it has accounts or aliases.
func (d *Directory) RemoveDomain(ctx context.Context, name string) error {
	name, err := canonicalDomain(name)
	if err != nil {
		return err
	}
	_, err = d.propose(ctx, "remove domain "+name, func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_RemoveDomain{RemoveDomain: &storepb.RemoveDomain{Name: name}}
	})
	return err
}

// Domains lists the domains by name.
func (d *Directory) Domains(ctx context.Context) ([]DomainInfo, error) {
	var list []DomainInfo
	err := d.read(ctx, func(v *state.View) error {
		domains, err := v.Domains()
		if err != nil {
			return err
		}
		counts := map[string]int{}
		if err := eachAccount(v, func(a *storepb.Account) error {
			counts[domainOf(a.GetAddress())]++
			return nil
		}); err != nil {
			return err
		}
		for _, r := range domains {
			list = append(list, DomainInfo{Name: r.GetName(), CatchAll: r.GetCatchAll(), Suspended: r.GetSuspended(), Accounts: counts[r.GetName()]})
		}
		return nil
	})
	return list, err
}

// Domain shows one domain. store.ErrNotFound.
func (d *Directory) Domain(ctx context.Context, name string) (DomainInfo, error) {
	name, err := canonicalDomain(name)
	if err != nil {
		return DomainInfo{}, err
	}
	list, err := d.Domains(ctx)
	if err != nil {
		return DomainInfo{}, err
	}
	for _, info := range list {
		if info.Name == name {
			return info, nil
		}
	}
	return DomainInfo{}, fmt.Errorf("domain %s: %w", name, store.ErrNotFound)
}
