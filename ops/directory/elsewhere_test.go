package directory

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/queue/route"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// refusing lets no mail go to refused.test, and does not know about unknown.test.
func refusing(c *Config) {
	c.Elsewhere = func(_ context.Context, a smtp.Address) error {
		switch a.Domain {
		case "refused.test":
			return &RouteRefused{Text: "Nobody lives here"}
		case "unknown.test":
			return store.ErrUnavailable
		}
		return nil
	}
}

func (d *Directory) resolved(t *testing.T, address string) ([]state.Recipient, error) {
	t.Helper()
	a, err := smtp.ParseAddress(address)
	must(t, err)
	return d.Resolve(t.Context(), a)
}

func TestAliasesLeadElsewhere(t *testing.T) {
	d, _ := testDirectory(t, refusing)
	ctx := t.Context()
	must(t, d.CreateAlias(ctx, "info@example.test", AliasSpec{Targets: []string{"alice@example.test", "Her@Elsewhere.TEST", "x@unknown.test"}}))
	must(t, d.CreateAlias(ctx, "team@example.test", AliasSpec{Targets: []string{"info@example.test", "bob@example.test"}, Group: true}))
	must(t, d.SetDomain(ctx, "example.test", DomainChange{CatchAll: ptr("all@elsewhere.test")}))
	her := state.Recipient{Address: "her@elsewhere.test", Remote: true}
	x := state.Recipient{Address: "x@unknown.test", Remote: true}
	alice, bob := state.Recipient{Account: 1, Address: "alice@example.test"}, state.Recipient{Account: 2, Address: "bob@example.test"}
	for address, want := range map[string][]state.Recipient{
		"info@example.test":   {alice, her, x},
		"team@example.test":   {alice, her, x, bob},
		"nobody@example.test": {{Address: "all@elsewhere.test", Remote: true}},
	} {
		if got, err := d.resolved(t, address); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v (%v), want %+v", address, got, err, want)
		}
	}
	info, err := d.Alias(ctx, "info@example.test", false)
	if want := []string{"her@elsewhere.test", "x@unknown.test"}; err != nil || !reflect.DeepEqual(info.Elsewhere, want) {
		t.Errorf("shown as elsewhere: %v (%v)", info.Elsewhere, err)
	}
}

func TestAliasesAreCheckedThatLeadElsewhere(t *testing.T) {
	d, _ := testDirectory(t, refusing)
	for target, want := range map[string]string{
		"x@refused.test": "Nobody lives here", "nobody@example.test": "neither an account", "postmaster": "no domain", "a b@elsewhere.test": "address",
	} {
		if err := d.CreateAlias(t.Context(), "info@example.test", AliasSpec{Targets: []string{target}}); !errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want one that says %q", target, err, want)
		}
	}
	if err := d.SetDomain(t.Context(), "example.test", DomainChange{CatchAll: ptr("x@refused.test")}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("catch-all: %v", err)
	}
}

// Whoever gets the mail of an address elsewhere has no account here, and so may not send as the alias; those with accounts may.
func TestTargetElsewhereGivesNobodyAnAddress(t *testing.T) {
	d, _ := testDirectory(t, refusing)
	must(t, d.CreateAlias(t.Context(), "info@example.test", AliasSpec{Targets: []string{"bob@elsewhere.test", "alice@example.test"}}))
	a, err := smtp.ParseAddress("info@example.test")
	must(t, err)
	for id, want := range map[store.AccountID]bool{0: false, 1: true, 2: false} {
		if ok, err := d.MaySendAs(t.Context(), id, a); ok != want || err != nil {
			t.Errorf("account %d: %t (%v)", id, ok, err)
		}
	}
}

func TestSuspendedAccountIsResolvedAsSuch(t *testing.T) {
	d, _ := testDirectory(t, nil)
	must(t, d.SetAccount(t.Context(), "bob@example.test", AccountChange{Suspended: ptr(true)}))
	got, err := d.resolved(t, "bob@example.test")
	if want := []state.Recipient{{Account: 2, Address: "bob@example.test", Suspended: true}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v (%v)", got, err)
	}
}

func noSecrets(string, []byte) ([]byte, error) { return nil, errors.New("no key") }

func TestRouteTableHoldsWhatWasSet(t *testing.T) {
	d, _ := testDirectory(t, func(c *Config) {
		c.Seal = func(name string, secret []byte) ([]byte, error) { return []byte(name + "|" + string(secret)), nil }
	})
	ctx := t.Context()
	must(t, d.SetRoute(ctx, RouteSpec{Domain: "*", Kind: "smarthost", Hosts: "a.isp.test,[2001:db8::1]:587", TLS: "verify", User: "u", Password: "p"}, "root"))
	must(t, d.SetRoute(ctx, RouteSpec{Domain: "*.Far.test", Kind: "reject", Text: "Go away"}, "root"))
	must(t, d.SetRoute(ctx, RouteSpec{Domain: "very.far.test", Kind: "mx"}, "root"))
	records, err := d.Routes(ctx)
	must(t, err)
	table, unopened, err := RouteTable(records, func(name string, sealed []byte) ([]byte, error) {
		secret, ok := strings.CutPrefix(string(sealed), name+"|")
		if !ok {
			return nil, errors.New("sealed under another name")
		}
		return []byte(secret), nil
	})
	if err != nil || len(unopened) != 0 {
		t.Fatalf("unopened %v (%v)", unopened, err)
	}
	if r := table.Decide("other.test"); r.Kind != route.Smarthost || r.Port != 587 || r.Host != "a.isp.test,2001:db8::1" || r.Username != "u" || string(r.Password) != "p" || r.TLS != route.TLSVerify {
		t.Errorf("the widest route is %+v", r)
	}
	for domain, want := range map[string]string{"x.far.test": "Go away", "very.far.test": "", "far.test": "", "other.test": ""} {
		err := RefusedBy(table, domain)
		if got := ""; err != nil {
			got = err.Error()
			if got != want {
				t.Errorf("%s: %q, want %q", domain, got, want)
			}
		} else if want != "" {
			t.Errorf("%s is not refused", domain)
		}
	}
	if _, unopened, err := RouteTable(records, noSecrets); err != nil || !reflect.DeepEqual(unopened, []string{"*"}) {
		t.Errorf("without the key: %v (%v)", unopened, err)
	}
}

func TestPortsOfSmarthosts(t *testing.T) {
	for hosts, want := range map[string]struct {
		host string
		port uint16
	}{
		"mail.isp.test": {"mail.isp.test", 0}, "mail.isp.test:587": {"mail.isp.test", 587}, "a.test,b.test:465": {"a.test,b.test", 465}, "192.0.2.1:25": {"192.0.2.1", 25},
		"2001:db8::1": {"2001:db8::1", 0}, "[2001:db8::1]": {"[2001:db8::1]", 0}, "[2001:db8::1]:25": {"[2001:db8::1]", 25}, "a.test,2001:db8::1": {"a.test,2001:db8::1", 0},
	} {
		if r, err := routeRule("x.test", "smarthost", hosts, "", "", ""); err != nil || r.Host != want.host || r.Port != want.port {
			t.Errorf("%q: %q and %d (%v)", hosts, r.Host, r.Port, err)
		}
	}
	if _, err := routeRule("x.test", "smarthost", "a.test:99999", "", "", ""); err == nil {
		t.Error("a port above 65535 was taken")
	}
}

func TestPasswordIsNotKeptUnsealed(t *testing.T) {
	d, _ := testDirectory(t, nil)
	if err := d.SetRoute(t.Context(), RouteSpec{Domain: "*", Kind: "smarthost", Hosts: "a.test", User: "u", Password: "p"}, "root"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if list, err := d.Routes(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("kept: %v (%v)", list, err)
	}
}

func TestRulesAreCompiledInTheirOrder(t *testing.T) {
	records := []*storepb.Rule{
		{Id: "b", Position: 20, Action: "block", Field: "sender", Pattern: "*@spam.test"},
		{Id: "c", Position: 5, Action: "hold", Field: "sender", Pattern: "*", Disabled: true},
		{Id: "a", Position: 20, Action: "tag", Field: "sender", Pattern: "*"},
	}
	var ids []string
	for _, r := range inOrder(records) {
		ids = append(ids, r.Id)
	}
	if got := strings.Join(ids, ""); got != "cab" {
		t.Errorf("the order is %s", got)
	}
	if _, err := CompileRules(append(records, &storepb.Rule{Id: "bad", Action: "burn"})); err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("a rule that cannot be read: %v", err)
	}
	d, _ := testDirectory(t, nil)
	r, err := d.AddRule(t.Context(), "", RuleChange{Action: ptr("block"), Field: ptr("sender"), Pattern: ptr("*@spam.test")}, "root")
	must(t, err)
	again, err := d.AddRule(t.Context(), "", RuleChange{Action: ptr("block"), Field: ptr("sender"), Pattern: ptr("*@more.test")}, "root")
	if err != nil || again.Position <= r.Position || again.Id == r.Id || r.ChangedBy != "root" || r.ChangedUnixMs != 1_000_000_000 {
		t.Errorf("the rules are %v and %v (%v)", r, again, err)
	}
}
