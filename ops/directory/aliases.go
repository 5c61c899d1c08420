package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// AliasSpec says what an alias or a group shall be.
type AliasSpec struct {
	Targets     []string // of this site, or of other systems, to which its mail is passed on; for SetAlias none leaves those that it has
	Add, Remove []string // SetAlias: to and from the targets
	Group       bool     // every member gets its own copy; it is listed as a group
	Description *string  // nil leaves it
}

// AliasInfo is an alias or a group as it stands.
type AliasInfo struct {
	Address     string
	Targets     []string
	Elsewhere   []string // those of the targets whose domains are not of this site now
	Group       bool
	Description string
}

// CreateAlias makes an alias or a group. store.ErrExists, store.ErrNotFound (the domain), store.ErrInvalid.
func (d *Directory) CreateAlias(ctx context.Context, address string, spec AliasSpec) error {
	a, err := d.accountAddress(address)
	if err != nil {
		return err
	}
	if err := d.free(ctx, a.Canonical()); err != nil {
		return err
	}
	return d.putAlias(ctx, &storepb.Alias{Address: a.Canonical(), Group: spec.Group}, spec, true)
}

// SetAlias changes an alias or a group. store.ErrNotFound, store.ErrInvalid.
func (d *Directory) SetAlias(ctx context.Context, address string, spec AliasSpec) error {
	d.change.Lock()
	defer d.change.Unlock()
	a, err := d.alias(ctx, address, spec.Group)
	if err != nil {
		return err
	}
	if len(spec.Targets) == 0 {
		spec.Targets = a.GetTargets()
	}
	if spec.Targets, err = without(append(slices.Clone(spec.Targets), spec.Add...), spec.Remove); err != nil {
		return err
	}
	return d.putAlias(ctx, a, spec, false)
}

// without drops from a list what names one of the addresses to remove; each must have been there.
func without(list, remove []string) ([]string, error) {
	for _, r := range remove {
		gone, err := canonical(r)
		if err != nil {
			return nil, err
		}
		left := slices.DeleteFunc(slices.Clone(list), func(s string) bool {
			a, err := canonical(s)
			return err == nil && a.Canonical() == gone.Canonical()
		})
		if len(left) == len(list) {
			return nil, fmt.Errorf("%s is no target: %w", gone, store.ErrNotFound)
		}
		list = left
	}
	return list, nil
}

// putAlias puts the record with what the spec changes in it.
func (d *Directory) putAlias(ctx context.Context, record *storepb.Alias, spec AliasSpec, create bool) (err error) {
	if spec.Description != nil {
		if record.Description, err = text("description", *spec.Description); err != nil {
			return err
		}
	}
	if record.Targets, err = d.targets(ctx, record.GetAddress(), spec.Targets); err != nil {
		return err
	}
	_, err = d.propose(ctx, "put "+aliasKind(spec.Group)+" "+record.GetAddress(), func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_PutAlias{PutAlias: &storepb.PutAlias{Alias: record, Create: create}}
	})
	return err
}

// targets checks where an alias leads: to addresses that get mail here, or of other systems, each once, not back to itself.
func (d *Directory) targets(ctx context.Context, address string, targets []string) ([]string, error) {
	if len(targets) == 0 || len(targets) > MaxTargets {
		return nil, fmt.Errorf("%s: %d targets, want 1 to %d: %w", address, len(targets), MaxTargets, store.ErrInvalid)
	}
	var list []string
	seen := map[string]bool{}
	for _, target := range targets {
		a, err := canonical(target)
		if err != nil {
			return nil, err
		}
		name := a.Canonical()
		switch {
		case name == address:
			return nil, fmt.Errorf("%s leads to itself: %w", address, store.ErrInvalid)
		case seen[name]:
			continue
		}
		seen[name] = true
		if err := d.delivers(ctx, a); err != nil {
			return nil, err
		}
		list = append(list, name)
	}
	return list, d.noLoop(ctx, address, list)
}

// noLoop follows aliases from the targets: none may lead back.
func (d *Directory) noLoop(ctx context.Context, address string, targets []string) error {
	return d.read(ctx, func(v *state.View) error {
		seen := map[string]bool{}
		for todo := append([]string(nil), targets...); len(todo) > 0; todo = todo[1:] {
			name := todo[0]
			if name == address {
				return fmt.Errorf("%s would lead back to itself: %w", address, store.ErrInvalid)
			}
			if seen[name] {
				continue
			}
			seen[name] = true
			a, err := v.Alias(name)
			if none(err) != nil {
				return err
			}
			todo = append(todo, a.GetTargets()...)
		}
		return nil
	})
}

// RemoveAlias removes an alias or, where group is set, a group. store.ErrNotFound.
func (d *Directory) RemoveAlias(ctx context.Context, address string, group bool) error {
	a, err := d.alias(ctx, address, group)
	if err != nil {
		return err
	}
	_, err = d.propose(ctx, "remove "+aliasKind(group)+" "+a.GetAddress(), func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_RemoveAlias{RemoveAlias: &storepb.RemoveAlias{Address: a.GetAddress()}}
	})
	return err
}

// Alias shows one alias or group. store.ErrNotFound.
func (d *Directory) Alias(ctx context.Context, address string, group bool) (AliasInfo, error) {
	a, err := d.alias(ctx, address, group)
	if err != nil {
		return AliasInfo{}, err
	}
	var info AliasInfo
	err = d.local(func(v *state.View) error {
		info, err = aliasInfo(v, a)
		return err
	})
	return info, err
}

// alias reads one; an alias is not found as a group, nor a group as an alias.
func (d *Directory) alias(ctx context.Context, address string, group bool) (*storepb.Alias, error) {
	a, err := canonical(address)
	if err != nil {
		return nil, err
	}
	var found *storepb.Alias
	err = d.read(ctx, func(v *state.View) (err error) {
		found, err = v.Alias(a.Canonical())
		if err == nil && found.GetGroup() != group {
			err = store.ErrNotFound
		}
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%s %s: %w", aliasKind(group), a, err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Aliases lists the aliases or the groups by address.
func (d *Directory) Aliases(ctx context.Context, group bool) ([]AliasInfo, error) {
	var list []AliasInfo
	err := d.read(ctx, func(v *state.View) error {
		return eachAlias(v, func(a *storepb.Alias) error {
			if a.GetGroup() != group {
				return nil
			}
			info, err := aliasInfo(v, a)
			list = append(list, info)
			return err
		})
	})
	return list, err
}

func aliasInfo(v *state.View, a *storepb.Alias) (AliasInfo, error) {
	info := AliasInfo{Address: a.GetAddress(), Targets: a.GetTargets(), Group: a.GetGroup(), Description: a.GetDescription()}
	for _, t := range a.GetTargets() {
		switch _, err := v.Domain(domainOf(t)); {
		case errors.Is(err, store.ErrNotFound):
			info.Elsewhere = append(info.Elsewhere, t)
		case err != nil:
			return info, err
		}
	}
	return info, nil
}

func aliasKind(group bool) string {
	if group {
		return "group"
	}
	return "alias"
}
