package directory

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/protocol/smtp/smtpd"
	"github.com/quorumail/quorumail/store"
)

func ptr[T any](v T) *T { return &v }

func TestChangesAreChecked(t *testing.T) {
	d, _ := testDirectory(t, nil)
	ctx := t.Context()
	must(t, d.CreateAlias(ctx, "one@example.test", AliasSpec{Targets: []string{"alice@example.test"}}))
	must(t, d.CreateAlias(ctx, "two@example.test", AliasSpec{Targets: []string{"one@example.test"}}))
	account := func(address, password string, c AccountChange) error {
		_, err := d.CreateAccount(ctx, address, password, c)
		return err
	}
	for _, tt := range []struct {
		name string
		err  error
		want error
	}{
		{"domain twice", d.CreateDomain(ctx, "EXAMPLE.test", DomainChange{}), store.ErrExists},
		{"bad domain", d.CreateDomain(ctx, "exa mple", DomainChange{}), store.ErrInvalid},
		{"unknown domain", d.SetDomain(ctx, "other.test", DomainChange{}), store.ErrNotFound},
		{"domain in use", d.RemoveDomain(ctx, "example.test"), store.ErrConflict},
		{"catch-all to nobody", d.SetDomain(ctx, "example.test", DomainChange{CatchAll: ptr("nobody@example.test")}), store.ErrInvalid},
		{"account twice", account("ALICE@example.test", "long enough", AccountChange{}), store.ErrExists},
		{"account on an alias", account("one@example.test", "long enough", AccountChange{}), store.ErrExists},
		{"foreign account", account("x@other.test", "long enough", AccountChange{}), store.ErrNotFound},
		{"account with a detail", account("x+y@example.test", "long enough", AccountChange{}), store.ErrInvalid},
		{"bad address", account("x@y@example.test", "long enough", AccountChange{}), store.ErrInvalid},
		{"short password", account("x@example.test", "short", AccountChange{}), store.ErrInvalid},
		{"negative quota", account("x@example.test", "long enough", AccountChange{QuotaBytes: ptr(int64(-2))}), store.ErrInvalid},
		{"bad name", account("x@example.test", "long enough", AccountChange{Name: ptr("a\nb")}), store.ErrInvalid},
		{"long name", account("x@example.test", "long enough", AccountChange{Name: ptr(strings.Repeat("x", 300))}), store.ErrInvalid},
		{"unknown account", d.SetPassword(ctx, "x@example.test", "long enough"), store.ErrNotFound},
		{"alias on an account", d.CreateAlias(ctx, "bob@example.test", AliasSpec{Targets: []string{"alice@example.test"}}), store.ErrExists},
		{"alias to itself", d.CreateAlias(ctx, "x@example.test", AliasSpec{Targets: []string{"x@example.test"}}), store.ErrInvalid},
		{"alias loop", d.SetAlias(ctx, "one@example.test", AliasSpec{Targets: []string{"two@example.test"}}), store.ErrInvalid},
		{"alias to nobody", d.CreateAlias(ctx, "x@example.test", AliasSpec{Targets: []string{"nobody@example.test"}}), store.ErrInvalid},
		{"alias to nothing", d.CreateAlias(ctx, "x@example.test", AliasSpec{}), store.ErrInvalid},
		{"alias as a group", d.RemoveAlias(ctx, "one@example.test", true), store.ErrNotFound},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.want)
		}
	}
}

func TestListings(t *testing.T) {
	d, _ := testDirectory(t, nil)
	ctx := t.Context()
	must(t, d.SetAccount(ctx, "bob@example.test", AccountChange{Name: ptr(" Bob "), QuotaBytes: ptr(int64(1000))}))
	must(t, d.CreateAlias(ctx, "info@example.test", AliasSpec{Targets: []string{"Alice@example.test", "alice@example.test"}}))
	must(t, d.CreateAlias(ctx, "team@example.test", AliasSpec{Targets: []string{"alice@example.test", "bob@example.test"}, Group: true, Description: ptr("all")}))
	must(t, d.SetDomain(ctx, "example.test", DomainChange{CatchAll: ptr("Bob@example.test")}))

	domains, err := d.Domains(ctx)
	must(t, err)
	if want := []DomainInfo{{Name: "example.test", CatchAll: "bob@example.test", Accounts: 2}}; !reflect.DeepEqual(domains, want) {
		t.Errorf("domains %+v", domains)
	}
	accounts, err := d.Accounts(ctx)
	must(t, err)
	if len(accounts) != 2 || accounts[0].Address != "alice@example.test" || accounts[1].Name != "Bob" || accounts[1].QuotaBytes != 1000 {
		t.Errorf("accounts %+v", accounts)
	}
	aliases, err := d.Aliases(ctx, false)
	must(t, err)
	if want := []AliasInfo{{Address: "info@example.test", Targets: []string{"alice@example.test"}}}; !reflect.DeepEqual(aliases, want) {
		t.Errorf("aliases %+v", aliases)
	}
	groups, err := d.Aliases(ctx, true)
	must(t, err)
	if len(groups) != 1 || groups[0].Description != "all" || len(groups[0].Targets) != 2 {
		t.Errorf("groups %+v", groups)
	}
	must(t, d.RemoveAlias(ctx, "team@example.test", true))
	must(t, d.RemoveAlias(ctx, "info@example.test", false))
	must(t, d.SetDomain(ctx, "example.test", DomainChange{CatchAll: ptr("")}))
	for _, a := range accounts {
		must(t, d.RemoveAccount(ctx, a.Address))
	}
	must(t, d.RemoveDomain(ctx, "example.test"))
}

// A node that is behind does not give the mail of a new account to the catch-all.
func TestCatchAllIsUsedOnlyBehindABarrier(t *testing.T) {
	d, n := testDirectory(t, nil)
	must(t, d.SetDomain(t.Context(), "example.test", DomainChange{CatchAll: ptr("bob@example.test")}))
	var made store.AccountID
	n.catchUp = func() { // another node made it, and said so
		var err error
		made, err = d.CreateAccount(t.Context(), "chi@example.test", "chi's secret", AccountChange{})
		must(t, err)
	}
	a, err := smtp.ParseAddress("chi@example.test")
	must(t, err)
	list, err := d.Resolve(t.Context(), a)
	if err != nil || len(list) != 1 || list[0].Account != made {
		t.Errorf("the mail goes to %+v, %v; want account %d", list, err, made)
	}
}

func TestResolve(t *testing.T) {
	d, _ := testDirectory(t, nil)
	ctx := t.Context()
	must(t, d.CreateAlias(ctx, "team@example.test", AliasSpec{Targets: []string{"alice@example.test", "bob@example.test"}, Group: true}))
	must(t, d.CreateDomain(ctx, "asleep.test", DomainChange{Suspended: ptr(true)}))
	for _, tt := range []struct {
		address string
		want    []store.AccountID
		err     error
	}{
		{"alice@example.test", []store.AccountID{1}, nil},
		{"ALICE+lists@example.test", []store.AccountID{1}, nil},
		{"team@example.test", []store.AccountID{1, 2}, nil},
		{"nobody@example.test", nil, store.ErrNotFound},
		{"postmaster@example.test", []store.AccountID{1}, nil}, // the oldest account
		{"x@elsewhere.test", nil, smtpd.ErrNotLocal},
		{"x@asleep.test", nil, store.ErrUnavailable},
	} {
		a, err := smtp.ParseAddress(tt.address)
		must(t, err)
		list, err := d.Resolve(ctx, a)
		var got []store.AccountID
		for _, r := range list {
			got = append(got, r.Account)
		}
		if !errors.Is(err, tt.err) || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, %v, want %v, %v", tt.address, got, err, tt.want, tt.err)
		}
	}
	must(t, d.CreateAlias(ctx, "postmaster@example.test", AliasSpec{Targets: []string{"bob@example.test"}}))
	list, err := d.Postmaster(ctx)
	if err != nil || len(list) != 1 || list[0].Account != 2 {
		t.Errorf("postmaster: %v, %v", list, err)
	}
}

func TestMaySendAs(t *testing.T) {
	d, _ := testDirectory(t, nil)
	ctx := t.Context()
	must(t, d.CreateAlias(ctx, "info@example.test", AliasSpec{Targets: []string{"alice@example.test"}}))
	must(t, d.SetDomain(ctx, "example.test", DomainChange{CatchAll: ptr("alice@example.test")}))
	for address, want := range map[string]bool{
		"alice@example.test": true, "Alice+x@example.test": true, "info@example.test": true, "INFO+x@example.test": true,
		"bob@example.test": false, "anything@example.test": false, "alice@elsewhere.test": false,
	} {
		a, err := smtp.ParseAddress(address)
		must(t, err)
		if ok, err := d.MaySendAs(ctx, 1, a); ok != want || err != nil {
			t.Errorf("%s: %v, %v", address, ok, err)
		}
	}
}

func TestRoom(t *testing.T) {
	d, _ := testDirectory(t, nil)
	must(t, d.SetAccount(t.Context(), "alice@example.test", AccountChange{QuotaBytes: ptr(int64(1000))}))
	if err := d.Room(t.Context(), 1, 1000); err != nil {
		t.Error(err)
	}
	if err := d.Room(t.Context(), 1, 1001); !errors.Is(err, store.ErrOverQuota) {
		t.Error(err)
	}
	if err := d.Room(t.Context(), 2, 1<<40); err != nil {
		t.Error(err)
	}
}
