package directory

import (
	"context"

	"github.com/quorumail/quorumail/ops/admin"
)

// Register serves the directory's administration: the methods domain.*, account.*, alias.*, group.*, policy.*,
// route.*, set and settings.
func (d *Directory) Register(s *admin.Server) {
	d.registerDomains(s)
	d.registerAccounts(s)
	d.registerAliases(s, false)
	d.registerAliases(s, true)
	d.registerSettings(s)
	d.registerRules(s)
	d.registerRoutes(s)
}

func done(err error) (admin.Empty, error) { return admin.Empty{}, err }

func (d *Directory) registerDomains(s *admin.Server) {
	admin.Handle(s, "domain.add", func(ctx context.Context, r admin.DomainRequest) (admin.Empty, error) {
		return done(d.CreateDomain(ctx, r.Name, DomainChange{CatchAll: r.CatchAll, Suspended: r.Suspended}))
	})
	admin.Handle(s, "domain.set", func(ctx context.Context, r admin.DomainRequest) (admin.Empty, error) {
		return done(d.SetDomain(ctx, r.Name, DomainChange{CatchAll: r.CatchAll, Suspended: r.Suspended}))
	})
	admin.Handle(s, "domain.remove", func(ctx context.Context, r admin.DomainRequest) (admin.Empty, error) {
		return done(d.RemoveDomain(ctx, r.Name))
	})
	admin.Handle(s, "domain.show", func(ctx context.Context, r admin.DomainRequest) (admin.Domain, error) {
		info, err := d.Domain(ctx, r.Name)
		return admin.Domain(info), err
	})
	admin.Handle(s, "domain.list", func(ctx context.Context, _ admin.Empty) ([]admin.Domain, error) {
		list, err := d.Domains(ctx)
		return each(list, func(i DomainInfo) admin.Domain { return admin.Domain(i) }), err
	})
}

func (d *Directory) registerAccounts(s *admin.Server) {
	admin.Handle(s, "account.add", func(ctx context.Context, r admin.AccountRequest) (admin.Empty, error) {
		change := accountChange(r)
		if change.Name == nil {
			change.Name = &r.Name
		}
		_, err := d.CreateAccount(ctx, r.Address, r.Password, change)
		return done(err)
	})
	admin.Handle(s, "account.set", func(ctx context.Context, r admin.AccountRequest) (admin.Empty, error) {
		return done(d.SetAccount(ctx, r.Address, accountChange(r)))
	})
	admin.Handle(s, "account.passwd", func(ctx context.Context, r admin.AccountRequest) (admin.Empty, error) {
		return done(d.SetPassword(ctx, r.Address, r.Password))
	})
	admin.Handle(s, "account.remove", func(ctx context.Context, r admin.AccountRequest) (admin.Empty, error) {
		return done(d.RemoveAccount(ctx, r.Address))
	})
	admin.Handle(s, "account.show", func(ctx context.Context, r admin.AccountRequest) (admin.Account, error) {
		info, err := d.Account(ctx, r.Address)
		return adminAccount(info), err
	})
	admin.Handle(s, "account.list", func(ctx context.Context, _ admin.Empty) ([]admin.Account, error) {
		list, err := d.Accounts(ctx)
		return each(list, adminAccount), err
	})
	admin.Handle(s, "account.app-password.add", func(ctx context.Context, r admin.AccountRequest) (admin.AppPassword, error) {
		p, err := d.AddAppPassword(ctx, r.Address, r.Label)
		return admin.AppPassword(p), err
	})
	admin.Handle(s, "account.app-password.remove", func(ctx context.Context, r admin.AccountRequest) (admin.Empty, error) {
		return done(d.RemoveAppPassword(ctx, r.Address, r.ID))
	})
}

func (d *Directory) registerAliases(s *admin.Server, group bool) {
	kind := aliasKind(group)
	spec := func(r admin.AliasRequest) AliasSpec {
		return AliasSpec{Targets: r.Targets, Add: r.Add, Remove: r.Remove, Group: group, Description: r.Description}
	}
	made := func(ctx context.Context, address string, err error) (admin.Alias, error) {
		if err != nil {
			return admin.Alias{}, err
		}
		info, err := d.Alias(ctx, address, group)
		return adminAlias(info), err
	}
	admin.Handle(s, kind+".add", func(ctx context.Context, r admin.AliasRequest) (admin.Alias, error) {
		return made(ctx, r.Address, d.CreateAlias(ctx, r.Address, spec(r)))
	})
	admin.Handle(s, kind+".set", func(ctx context.Context, r admin.AliasRequest) (admin.Alias, error) {
		return made(ctx, r.Address, d.SetAlias(ctx, r.Address, spec(r)))
	})
	admin.Handle(s, kind+".remove", func(ctx context.Context, r admin.AliasRequest) (admin.Empty, error) {
		return done(d.RemoveAlias(ctx, r.Address, group))
	})
	admin.Handle(s, kind+".show", func(ctx context.Context, r admin.AliasRequest) (admin.Alias, error) {
		info, err := d.Alias(ctx, r.Address, group)
		return adminAlias(info), err
	})
	admin.Handle(s, kind+".list", func(ctx context.Context, _ admin.Empty) ([]admin.Alias, error) {
		list, err := d.Aliases(ctx, group)
		return each(list, adminAlias), err
	})
}

func (d *Directory) registerSettings(s *admin.Server) {
	admin.Handle(s, "set", func(ctx context.Context, r admin.SettingRequest) (admin.Setting, error) {
		var err error
		if r.Reset {
			err = d.ResetSetting(ctx, r.Name)
		} else {
			err = d.SetSetting(ctx, r.Name, r.Value)
		}
		if err != nil {
			return admin.Setting{}, err
		}
		info, err := d.Setting(ctx, r.Name)
		return adminSetting(info), err
	})
	admin.Handle(s, "settings", func(ctx context.Context, r admin.SettingRequest) ([]admin.Setting, error) {
		if r.Name != "" {
			info, err := d.Setting(ctx, r.Name)
			return []admin.Setting{adminSetting(info)}, err
		}
		list, err := d.Settings(ctx)
		return each(list, adminSetting), err
	})
}

func adminSetting(i SettingInfo) admin.Setting {
	return admin.Setting{Name: i.Name, Value: i.Value, Default: i.Default, Set: i.Set, Type: i.Type, Range: i.Range, Doc: i.Doc}
}

func accountChange(r admin.AccountRequest) AccountChange {
	return AccountChange{Name: r.NewName, QuotaBytes: r.QuotaBytes, QuotaMessages: r.QuotaMessages, Suspended: r.Suspended}
}

func adminAccount(i AccountInfo) admin.Account {
	return admin.Account{ID: uint64(i.ID), Address: i.Address, Name: i.Name, QuotaBytes: i.QuotaBytes, QuotaMessages: i.QuotaMessages,
		LimitBytes: i.LimitBytes, LimitMessages: i.LimitMessages, UsedBytes: i.UsedBytes, Messages: i.UsedMessages, Suspended: i.Suspended,
		AppPasswords: each(i.AppPasswords, func(p AppPassword) admin.AppPassword { return admin.AppPassword(p) })}
}

func adminAlias(i AliasInfo) admin.Alias {
	return admin.Alias{Address: i.Address, Targets: i.Targets, Elsewhere: i.Elsewhere, Group: i.Group, Description: i.Description}
}

// each is f of every element; an empty list is empty JSON, not null.
func each[A, B any](list []A, f func(A) B) []B {
	out := make([]B, 0, len(list))
	for _, a := range list {
		out = append(out, f(a))
	}
	return out
}
