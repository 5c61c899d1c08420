package directory

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/queue/filter"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// RuleChange is what a rule shall be (package queue/filter has the meaning of the fields). Nil leaves a field as it is.
type RuleChange struct {
	Position  *uint32 // rules with lower ones come first; of a new rule by default behind all others
	Action    *string // filter.Block and so on
	Field     *string // filter.FieldClient and so on
	Header    *string
	Pattern   *string
	Direction *string // "in", "out", "both"
	Reply     *string
	Note      *string
	Disabled  *bool // keep it, and do not look at it
}

// AuditInfo is a change that an administrator made of rules or routes.
type AuditInfo struct {
	Time time.Time
	Node string // name
	Who  string
	Text string
}

// CompileRules makes the records of rules what judges messages, in the order of their positions, without those that are disabled. Errors wrap
// filter.ErrRule and name the rule.
func CompileRules(records []*storepb.Rule) (*filter.RuleSet, error) {
	var rules []filter.Rule
	for _, r := range inOrder(records) {
		if !r.Disabled {
			rules = append(rules, FilterRule(r))
		}
	}
	return filter.Compile(rules)
}

// FilterRule is a record as queue/filter reads it.
func FilterRule(r *storepb.Rule) filter.Rule {
	return filter.Rule{ID: r.Id, Action: r.Action, Field: r.Field, Header: r.Header, Pattern: r.Pattern, Direction: r.Direction, Note: r.Note, Reply: r.Reply}
}

// inOrder sorts rules by position, equal ones by id.
func inOrder(records []*storepb.Rule) []*storepb.Rule {
	return slices.SortedFunc(slices.Values(records), func(a, b *storepb.Rule) int {
		return cmp.Or(cmp.Compare(a.Position, b.Position), strings.Compare(a.Id, b.Id))
	})
}

// Rules lists the rules in their order.
func (d *Directory) Rules(ctx context.Context) ([]*storepb.Rule, error) {
	var list []*storepb.Rule
	err := d.read(ctx, func(v *state.View) (err error) {
		list, err = v.Rules()
		return err
	})
	return inOrder(list), err
}

// positionStep leaves room for rules in between.
const positionStep = 10

// AddRule makes a rule, under an id of its choice if there is none. store.ErrExists, store.ErrInvalid with filter's reason.
func (d *Directory) AddRule(ctx context.Context, id string, c RuleChange, who string) (*storepb.Rule, error) {
	d.change.Lock()
	defer d.change.Unlock()
	rules, err := d.Rules(ctx)
	if err != nil {
		return nil, err
	}
	if id == "" {
		id = freshRuleID(rules)
	}
	if findRule(rules, id) != nil {
		return nil, fmt.Errorf("rule %s: change it with \"policy set\", or choose another id: %w", id, store.ErrExists)
	}
	r := &storepb.Rule{Id: id, Direction: "both", Position: positionStep}
	if len(rules) > 0 {
		r.Position += rules[len(rules)-1].Position
	}
	return d.putRule(ctx, rules, r, c, who, true)
}

// SetRule changes a rule. store.ErrNotFound, store.ErrInvalid with filter's reason.
func (d *Directory) SetRule(ctx context.Context, id string, c RuleChange, who string) (*storepb.Rule, error) {
	d.change.Lock()
	defer d.change.Unlock()
	rules, err := d.Rules(ctx)
	if err != nil {
		return nil, err
	}
	r := findRule(rules, id)
	if r == nil {
		return nil, fmt.Errorf("rule %s (see: quorumail policy list): %w", id, store.ErrNotFound)
	}
	return d.putRule(ctx, rules, r, c, who, false)
}

// putRule checks the rule by itself and among the others, and proposes it.
func (d *Directory) putRule(ctx context.Context, rules []*storepb.Rule, r *storepb.Rule, c RuleChange, who string, create bool) (*storepb.Rule, error) {
	c.apply(r)
	r.ChangedUnixMs, r.ChangedBy = d.cfg.Now().UnixMilli(), who // as Apply will write it, up to the clock
	if err := FilterRule(r).Check(); err != nil {               // also of one that is disabled
		return nil, fmt.Errorf("%w: %w", err, store.ErrInvalid)
	}
	if create {
		rules = append(rules, r)
	}
	if _, err := CompileRules(rules); err != nil {
		return nil, fmt.Errorf("with the other rules: %w: %w", err, store.ErrInvalid)
	}
	_, err := d.propose(ctx, "put rule "+r.Id, func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_PutRule{PutRule: &storepb.PutRule{Rule: r, Create: create, Who: who}}
	})
	return r, err
}

func (c RuleChange) apply(r *storepb.Rule) {
	for _, f := range []struct {
		from *string
		to   *string
	}{{c.Action, &r.Action}, {c.Field, &r.Field}, {c.Header, &r.Header}, {c.Pattern, &r.Pattern}, {c.Direction, &r.Direction}, {c.Reply, &r.Reply}, {c.Note, &r.Note}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if c.Position != nil {
		r.Position = *c.Position
	}
	if c.Disabled != nil {
		r.Disabled = *c.Disabled
	}
}

// RemoveRule removes a rule. store.ErrNotFound.
func (d *Directory) RemoveRule(ctx context.Context, id, who string) error {
	_, err := d.propose(ctx, "remove rule "+id, func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_RemoveRule{RemoveRule: &storepb.RemoveRule{Id: id, Who: who}}
	})
	return err
}

// Audit lists changes of rules and routes, the newest first, at most limit.
func (d *Directory) Audit(ctx context.Context, limit int) ([]AuditInfo, error) {
	var list []AuditInfo
	err := d.read(ctx, func(v *state.View) error {
		servers, err := v.EverServers()
		if err != nil {
			return err
		}
		names := map[string]string{}
		for _, s := range servers {
			names[s.Id] = s.Name
		}
		return v.Audit(func(e *storepb.AuditEvent) bool {
			list = append(list, AuditInfo{Time: time.UnixMilli(e.UnixMs).UTC(), Node: cmp.Or(names[e.Server], e.Server), Who: e.Who, Text: e.Text})
			return len(list) < limit
		})
	})
	return list, err
}

func findRule(rules []*storepb.Rule, id string) *storepb.Rule {
	i := slices.IndexFunc(rules, func(r *storepb.Rule) bool { return r.Id == id })
	if i < 0 {
		return nil
	}
	return rules[i]
}

// ruleIDs are short enough to be said on the telephone; letters and digits that look alike are not among them.
var ruleIDs = base32.NewEncoding("23456789abcdefghjkmnpqrstuvwxyz0").WithPadding(base32.NoPadding)

func freshRuleID(rules []*storepb.Rule) string {
	for {
		var raw [3]byte
		_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the program instead
		id := "r" + ruleIDs.EncodeToString(raw[:])[:4]
		if findRule(rules, id) == nil {
			return id
		}
	}
}
