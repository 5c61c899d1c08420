package directory

import (
	"context"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/store/storepb"
)

// maxAudit bounds what one request may ask of the audit; the state keeps no more.
const maxAudit = 10_000

func (d *Directory) registerRules(s *admin.Server) {
	change := func(r admin.RuleRequest) RuleChange {
		return RuleChange{Position: r.Position, Action: r.Action, Field: r.Field, Header: r.Header, Pattern: r.Pattern, Direction: r.Direction, Reply: r.Reply, Note: r.Note, Disabled: r.Disabled}
	}
	admin.Handle(s, "policy.list", func(ctx context.Context, _ admin.Empty) ([]admin.Rule, error) {
		list, err := d.Rules(ctx)
		return each(list, adminRule), err
	})
	admin.Handle(s, "policy.add", func(ctx context.Context, r admin.RuleRequest) (admin.Rule, error) {
		rule, err := d.AddRule(ctx, r.ID, change(r), r.Who)
		return adminRule(rule), err
	})
	admin.Handle(s, "policy.set", func(ctx context.Context, r admin.RuleRequest) (admin.Rule, error) {
		rule, err := d.SetRule(ctx, r.ID, change(r), r.Who)
		return adminRule(rule), err
	})
	admin.Handle(s, "policy.remove", func(ctx context.Context, r admin.RuleRequest) (admin.Empty, error) {
		return done(d.RemoveRule(ctx, r.ID, r.Who))
	})
	admin.Handle(s, "policy.log", func(ctx context.Context, r admin.AuditRequest) ([]admin.AuditEvent, error) {
		if r.Limit <= 0 || r.Limit > maxAudit {
			r.Limit = maxAudit
		}
		list, err := d.Audit(ctx, r.Limit)
		return each(list, func(i AuditInfo) admin.AuditEvent { return admin.AuditEvent(i) }), err
	})
}

func (d *Directory) registerRoutes(s *admin.Server) {
	admin.Handle(s, "route.list", func(ctx context.Context, _ admin.Empty) ([]admin.Route, error) {
		list, err := d.Routes(ctx)
		return each(list, adminRoute), err
	})
	admin.Handle(s, "route.set", func(ctx context.Context, r admin.RouteRequest) (admin.Empty, error) {
		return done(d.SetRoute(ctx, RouteSpec{Domain: r.Domain, Kind: r.Kind, Hosts: r.Hosts, TLS: r.TLS, User: r.User, Password: r.Password, Text: r.Text}, r.Who))
	})
	admin.Handle(s, "route.remove", func(ctx context.Context, r admin.RouteRequest) (admin.Empty, error) {
		return done(d.RemoveRoute(ctx, r.Domain, r.Who))
	})
}

func adminRule(r *storepb.Rule) admin.Rule {
	return admin.Rule{ID: r.GetId(), Position: r.GetPosition(), Action: r.GetAction(), Field: r.GetField(), Header: r.GetHeader(), Pattern: r.GetPattern(), Direction: r.GetDirection(),
		Reply: r.GetReply(), Note: r.GetNote(), Disabled: r.GetDisabled(), Changed: time.UnixMilli(r.GetChangedUnixMs()).UTC(), ChangedBy: r.GetChangedBy()}
}

func adminRoute(r *storepb.DomainRoute) admin.Route {
	return admin.Route{Domain: r.GetDomain(), Kind: r.GetKind(), Hosts: r.GetHosts(), TLS: r.GetTls(), User: r.GetUsername(), Password: len(r.GetPassword()) > 0, Text: r.GetText(),
		Changed: time.UnixMilli(r.GetChangedUnixMs()).UTC()}
}
