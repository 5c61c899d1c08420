package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/protocol/dkim"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

func (o *office) registerDKIM(s *admin.Server) {
	admin.Handle(s, "dkim.show", o.showDKIM)
	admin.Handle(s, "dkim.create", o.createDKIM)
	admin.Handle(s, "dkim.rotate", o.rotateDKIM)
	admin.Handle(s, "dkim.activate", o.activateDKIM)
	admin.Handle(s, "dkim.remove", o.removeDKIM)
	admin.Handle(s, "dkim.log", o.logDKIM)
}

// logDKIM lists what administrators did with keys, the newest first.
func (o *office) logDKIM(ctx context.Context, r admin.AuditRequest) ([]admin.AuditEvent, error) {
	out := []admin.AuditEvent{}
	err := o.read(ctx, func(v *state.View) error {
		servers, err := serverNames(v)
		if err != nil {
			return err
		}
		pairs, err := everDKIM(v, "")
		for _, p := range pairs {
			for _, c := range p.Log {
				out = append(out, admin.AuditEvent{Time: moment(c.UnixMs), Node: servers.of(c.Server), Who: c.Who, Text: "dkim " + p.domain + ": keys " + p.name + " " + c.What})
			}
		}
		return err
	})
	return newestChanges(r.Limit, out), err
}

// newestChanges joins lists of changes: the newest first, at most limit.
func newestChanges(limit int, lists ...[]admin.AuditEvent) []admin.AuditEvent {
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, func(a, b admin.AuditEvent) int { return b.Time.Compare(a.Time) })
	return all[:min(len(all), max(limit, 0))]
}

// dkimPairs are a domain's pairs as the cluster has them now, removed ones, too. The domain must be of this site.
func (o *office) dkimPairs(ctx context.Context, name string) (domain string, pairs []*dkimPair, err error) {
	if domain, err = smtp.ParseDomain(name); err != nil {
		return "", nil, fmt.Errorf("domain %q: %w: %w", name, err, store.ErrInvalid)
	}
	err = o.read(ctx, func(v *state.View) error {
		if _, err := v.Domain(domain); err != nil {
			return fmt.Errorf("domain %s: add it first (quorumail domain add %s): %w", domain, domain, err)
		}
		pairs, err = everDKIM(v, domain)
		return err
	})
	return domain, pairs, err
}

// showDKIM lists the keys of a domain, or of all.
func (o *office) showDKIM(ctx context.Context, r admin.DKIMRequest) ([]admin.DKIMKeys, error) {
	out := []admin.DKIMKeys{}
	var domain string
	var err error
	if r.Domain != "" {
		if domain, err = smtp.ParseDomain(r.Domain); err != nil {
			return nil, fmt.Errorf("domain %q: %w: %w", r.Domain, err, store.ErrInvalid)
		}
	}
	err = o.read(ctx, func(v *state.View) error {
		pairs, err := readDKIM(v, domain)
		for _, p := range pairs {
			out = append(out, o.shownDKIM(p))
		}
		return err
	})
	if err == nil && domain != "" && len(out) == 0 {
		err = fmt.Errorf("%s has no DKIM keys: make them with \"quorumail dkim create %s\": %w", domain, domain, store.ErrNotFound)
	}
	return out, err
}

func (o *office) shownDKIM(p *dkimPair) admin.DKIMKeys {
	out := admin.DKIMKeys{Domain: p.domain, Keys: p.name, State: p.State, Made: moment(p.MadeUnixMs), Records: []admin.DKIMRecord{}}
	if p.State == admin.DKIMRetired {
		out.Until = moment(p.RetiredUnixMs).Add(dkimKeep)
	} else if _, err := p.open(o.secrets); err != nil {
		out.Trouble = err.Error()
	}
	ascii, err := smtp.ASCIIDomain(p.domain)
	if err != nil {
		ascii = p.domain // it was good when the keys were made
	}
	for _, k := range p.Keys {
		r := dkim.Record{Name: k.Selector + "._domainkey." + ascii, Value: k.Record}
		out.Records = append(out.Records, admin.DKIMRecord{Name: r.Name, Value: r.Value, Zone: r.Zone()})
	}
	return out
}

// createDKIM makes a domain's first keys. store.ErrExists.
func (o *office) createDKIM(ctx context.Context, r admin.DKIMRequest) ([]admin.DKIMKeys, error) {
	o.change.Lock()
	defer o.change.Unlock()
	domain, pairs, err := o.dkimPairs(ctx, r.Domain)
	if err != nil {
		return nil, err
	}
	for _, p := range pairs {
		if p.State != admin.DKIMRetired {
			return nil, fmt.Errorf("%s has the DKIM keys %s: show them with \"quorumail dkim show %s\", or replace them with \"quorumail dkim rotate %s\": %w", domain, p.name, domain, domain, store.ErrExists)
		}
	}
	made, err := o.makeDKIM(ctx, domain, pairs, r)
	if err != nil {
		return nil, err
	}
	return []admin.DKIMKeys{o.shownDKIM(made)}, nil
}

// makeDKIM makes one more pair of keys, which signs at once unless it is to wait.
func (o *office) makeDKIM(ctx context.Context, domain string, pairs []*dkimPair, r admin.DKIMRequest) (*dkimPair, error) {
	var removed []*dkimPair
	for _, p := range pairs {
		if p.removed() {
			removed = append(removed, p)
		}
	}
	if n := len(pairs) - len(removed); n >= maxDKIMPairs {
		return nil, fmt.Errorf("%s has %d pairs of DKIM keys: remove old ones first (quorumail dkim show %s): %w", domain, n, domain, store.ErrTooLarge)
	}
	p, err := newDKIMPair(o.secrets, domain, pairs, o.now())
	if err != nil {
		return nil, err
	}
	what := "made"
	if r.Wait {
		p.State, what = admin.DKIMWaits, "made to wait"
	}
	if err := o.putDKIM(ctx, p, what, r.Who); err != nil {
		return nil, err
	}
	o.log.Info("DKIM keys were made", "pkg", "main", "domain", domain, "keys", p.name, "who", r.Who)
	return p, o.forgetDKIM(ctx, removed)
}

// forgetDKIM drops the oldest records of removed pairs when there are too many.
func (o *office) forgetDKIM(ctx context.Context, removed []*dkimPair) error {
	slices.SortFunc(removed, func(a, b *dkimPair) int { return cmp.Compare(a.RemovedUnixMs, b.RemovedUnixMs) })
	for _, p := range removed[:max(0, len(removed)-maxRemovedDKIM)] {
		_, err := o.store.Propose(ctx, func(c *storepb.Command) {
			c.Op = &storepb.Command_RemoveSecret{RemoveSecret: &storepb.RemoveSecret{Name: dkimName(p.domain, p.name)}}
		})
		if err != nil {
			return fmt.Errorf("the new keys were made; forget the removed DKIM keys %s of %s: %w", p.name, p.domain, err)
		}
	}
	return nil
}

// rotateDKIM makes new keys and, unless they are to wait, retires those that signed so far. The new ones come first: between the two steps
// both sign, which does no harm. store.ErrNotFound when there are none yet.
func (o *office) rotateDKIM(ctx context.Context, r admin.DKIMRequest) ([]admin.DKIMKeys, error) {
	o.change.Lock()
	defer o.change.Unlock()
	domain, pairs, err := o.dkimPairs(ctx, r.Domain)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(pairs, func(p *dkimPair) bool { return !p.removed() }) {
		return nil, fmt.Errorf("%s has no DKIM keys yet: make them with \"quorumail dkim create %s\": %w", domain, domain, store.ErrNotFound)
	}
	made, err := o.makeDKIM(ctx, domain, pairs, r)
	if err != nil {
		return nil, err
	}
	if !r.Wait {
		err = o.retireDKIM(ctx, pairs, r.Who)
	}
	return o.shownPairs(append(pairs, made)), err
}

func (o *office) shownPairs(pairs []*dkimPair) (out []admin.DKIMKeys) {
	for _, p := range pairs {
		if !p.removed() {
			out = append(out, o.shownDKIM(p))
		}
	}
	return out
}

// retireDKIM ends the signing with pairs; their private keys are forgotten.
func (o *office) retireDKIM(ctx context.Context, pairs []*dkimPair, who string) error {
	for _, p := range pairs {
		if p.State != admin.DKIMSigns {
			continue
		}
		p.State, p.RetiredUnixMs = admin.DKIMRetired, o.now().UnixMilli()
		for i := range p.Keys {
			p.Keys[i].Sealed = nil
		}
		if err := o.putDKIM(ctx, p, "retired", who); err != nil {
			return fmt.Errorf("the new keys sign, and so do those before them: run \"quorumail dkim activate %s\": %w", p.domain, err)
		}
	}
	return nil
}

// activateDKIM signs with the newest keys, from now on with these alone. store.ErrNotFound when there are none.
func (o *office) activateDKIM(ctx context.Context, r admin.DKIMRequest) ([]admin.DKIMKeys, error) {
	o.change.Lock()
	defer o.change.Unlock()
	domain, pairs, err := o.dkimPairs(ctx, r.Domain)
	if err != nil {
		return nil, err
	}
	newest := newestDKIM(pairs)
	if newest == nil {
		return nil, fmt.Errorf("%s has no DKIM keys that could sign: make them with \"quorumail dkim create %s\": %w", domain, domain, store.ErrNotFound)
	}
	if newest.State == admin.DKIMWaits {
		newest.State = admin.DKIMSigns
		if err := o.putDKIM(ctx, newest, "activated", r.Who); err != nil {
			return nil, err
		}
	}
	var others []*dkimPair
	for _, p := range pairs {
		if p != newest {
			others = append(others, p)
		}
	}
	err = o.retireDKIM(ctx, others, r.Who)
	o.log.Info("DKIM keys were activated", "pkg", "main", "domain", domain, "keys", newest.name, "who", r.Who)
	return o.shownPairs(pairs), err
}

// newestDKIM is the newest pair that is not retired.
func newestDKIM(pairs []*dkimPair) (newest *dkimPair) {
	for _, p := range pairs {
		if p.State != admin.DKIMRetired && (newest == nil || p.MadeUnixMs >= newest.MadeUnixMs) {
			newest = p
		}
	}
	return newest
}

// removeDKIM removes one pair of a domain's keys, or all. store.ErrNotFound. It works for domains that are gone, too.
func (o *office) removeDKIM(ctx context.Context, r admin.DKIMRequest) (admin.Empty, error) {
	o.change.Lock()
	defer o.change.Unlock()
	domain, err := smtp.ParseDomain(r.Domain)
	if err != nil {
		return admin.Empty{}, fmt.Errorf("domain %q: %w: %w", r.Domain, err, store.ErrInvalid)
	}
	var pairs []*dkimPair
	err = o.read(ctx, func(v *state.View) (err error) {
		pairs, err = readDKIM(v, domain)
		return err
	})
	if err != nil {
		return admin.Empty{}, err
	}
	var removed []string
	for _, p := range pairs {
		if r.Keys != "" && p.name != r.Keys {
			continue
		}
		p.State, p.Keys, p.RemovedUnixMs = admin.DKIMRetired, nil, o.now().UnixMilli()
		if err := o.putDKIM(ctx, p, "removed", r.Who); err != nil {
			return admin.Empty{}, fmt.Errorf("remove: %w", err)
		}
		removed = append(removed, p.name)
	}
	if len(removed) == 0 {
		return admin.Empty{}, fmt.Errorf("%s has no such DKIM keys (see: quorumail dkim show): %w", domain, store.ErrNotFound)
	}
	o.log.Info("DKIM keys were removed", "pkg", "main", "domain", domain, "keys", strings.Join(removed, ","), "who", r.Who)
	return admin.Empty{}, nil
}
