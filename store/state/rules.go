package state

import (
	"errors"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// The site's own rules for mail, and its routes. Their meaning is queue/filter's and queue/route's; here they are kept, in bounds, and
// every change is written down.

const (
	maxRules  = 1000
	maxRoutes = 10_000
	maxAudit  = 10_000 // events that are kept
)

func (b *batch) putRule(op *storepb.PutRule) (*storepb.Result, error) {
	r := op.GetRule()
	if r.GetId() == "" || !validText(r.Id, 64) || len(r.Pattern) > maxTextBytes || len(r.Header) > maxTextBytes || len(r.Action)+len(r.Field)+len(r.Direction) > 100 ||
		!validText(r.Reply, maxTextBytes) || !validText(r.Note, maxTextBytes) || !validText(op.Who, maxTextBytes) {
		return refuse(store.ErrInvalid, "no proper rule"), nil
	}
	if res, err := b.room1(key(tabRule, r.Id), tabRule, maxRules, op.Create); res != nil || err != nil {
		return res, err
	}
	r.ChangedUnixMs, r.ChangedBy = b.cmd.TimeUnixMs, op.Who
	b.applied.Rules = true
	if err := b.audit(op.Who, "rule "+r.Id+": "+r.Action+" "+r.Field+" "+r.Header+" "+r.Pattern+" "+r.Direction); err != nil {
		return nil, err
	}
	return &storepb.Result{}, b.save(key(tabRule, r.Id), r)
}

// room1 refuses one more record of a table that is full, and a new one where there is one already.
func (b *batch) room1(k []byte, table byte, limit int, create bool) (*storepb.Result, error) {
	found, err := has(b, k)
	if err != nil {
		return nil, err
	}
	if found && create {
		return refuse(store.ErrExists, "it exists already"), nil
	}
	if found {
		return nil, nil
	}
	keys, err := keysOf(b, key(table), after(key(table)), limit)
	if err == nil && len(keys) >= limit {
		return refuse(store.ErrTooLarge, "there are %d already", limit), nil
	}
	return nil, err
}

func (b *batch) removeRule(op *storepb.RemoveRule) (*storepb.Result, error) {
	return b.removeKept(key(tabRule, op.Id), op.Who, "rule "+op.Id+" removed")
}

func (b *batch) removeKept(k []byte, who, what string) (*storepb.Result, error) {
	if found, err := has(b, k); err != nil || !found {
		return refuse(store.ErrNotFound, "there is no such thing"), err
	}
	if !validText(who, maxTextBytes) {
		return refuse(store.ErrInvalid, "no proper name of who did it"), nil
	}
	b.applied.Rules = true
	if err := b.audit(who, what); err != nil {
		return nil, err
	}
	return &storepb.Result{}, b.Delete(k)
}

func (b *batch) putRoute(op *storepb.PutRoute) (*storepb.Result, error) {
	r := op.GetRoute()
	if r.GetDomain() == "" || !validText(r.Domain, maxDomainBytes) || !validText(r.Hosts, maxTextBytes) || len(r.Kind)+len(r.Tls) > 100 || !validText(r.Username, maxTextBytes) ||
		len(r.Password) > maxTextBytes || !validText(r.Text, maxTextBytes) || !validText(op.Who, maxTextBytes) {
		return refuse(store.ErrInvalid, "no proper route"), nil
	}
	if res, err := b.room1(key(tabRoute, r.Domain), tabRoute, maxRoutes, false); res != nil || err != nil {
		return res, err
	}
	r.ChangedUnixMs = b.cmd.TimeUnixMs
	b.applied.Rules = true
	if err := b.audit(op.Who, "route "+r.Domain+": "+r.Kind+" "+r.Hosts+" "+r.Tls); err != nil {
		return nil, err
	}
	return &storepb.Result{}, b.save(key(tabRoute, r.Domain), r)
}

func (b *batch) removeRoute(op *storepb.RemoveRoute) (*storepb.Result, error) {
	return b.removeKept(key(tabRoute, op.Domain), op.Who, "route "+op.Domain+" removed")
}

// audit writes down what an administrator changed, and drops the oldest of too many.
func (b *batch) audit(who, text string) error {
	if err := b.save(key(tabAudit, b.pos.Index), &storepb.AuditEvent{UnixMs: b.cmd.TimeUnixMs, Server: b.cmd.Server, Who: who, Text: text}); err != nil {
		return err
	}
	keys, err := keysOf(b, key(tabAudit), after(key(tabAudit)), maxAudit+1)
	if err != nil || len(keys) <= maxAudit {
		return err
	}
	return b.Delete(keys[0])
}

// Rules lists the site's rules by id.
func (v *View) Rules() (out []*storepb.Rule, err error) {
	err = each(v, key(tabRule), func(_, raw []byte) (bool, error) {
		r := &storepb.Rule{}
		out = append(out, r)
		return true, unmarshal(raw, r)
	})
	return out, err
}

// Routes lists the routes by domain.
func (v *View) Routes() (out []*storepb.DomainRoute, err error) {
	err = each(v, key(tabRoute), func(_, raw []byte) (bool, error) {
		r := &storepb.DomainRoute{}
		out = append(out, r)
		return true, unmarshal(raw, r)
	})
	return out, err
}

// Audit calls f for the changes that administrators made of rules and routes, the newest first, until f answers false.
func (v *View) Audit(f func(*storepb.AuditEvent) bool) error {
	it, err := v.Iter(key(tabAudit), after(key(tabAudit)))
	if err != nil {
		return err
	}
	for ok := it.Last(); ok && err == nil; ok = it.Prev() {
		e := &storepb.AuditEvent{}
		if err = unmarshal(it.Value(), e); err == nil && !f(e) {
			break
		}
	}
	return errors.Join(err, it.Err(), it.Close())
}
