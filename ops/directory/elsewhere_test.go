package directory

import (
	"context"
	"errors"
	"testing"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
)

func TestElsewhereIsAskedOfTheRoutes(t *testing.T) {
	refused := errors.New("refused by a route")
	d, _ := testDirectory(t, func(c *Config) {
		c.Elsewhere = func(_ context.Context, a smtp.Address) error {
			if a.Domain == "refused.test" {
				return refused
			}
			return nil
		}
	})
	for domain, want := range map[string]error{"refused.test": refused, "other.test": nil} {
		if err := d.Elsewhere(t.Context(), smtp.Address{Local: "x", Domain: domain}); !errors.Is(err, want) {
			t.Errorf("%s: %v", domain, err)
		}
	}
	open, _ := testDirectory(t, nil)
	if err := open.Elsewhere(t.Context(), smtp.Address{Local: "x", Domain: "refused.test"}); err != nil {
		t.Error(err)
	}
}

// Mail for a suspended account is not refused: it waits.
func TestSuspendedAccountIsResolved(t *testing.T) {
	d, _ := testDirectory(t, nil)
	yes := true
	must(t, d.SetAccount(t.Context(), "bob@example.test", AccountChange{Suspended: &yes}))
	list, err := d.Resolve(t.Context(), smtp.Address{Local: "bob", Domain: "example.test"})
	if err != nil || len(list) != 1 || !list[0].Suspended {
		t.Errorf("%+v, %v", list, err)
	}
	must(t, d.CreateAlias(t.Context(), "both@example.test", AliasSpec{Targets: []string{"alice@example.test", "x@elsewhere.test"}}))
	list, err = d.Resolve(t.Context(), smtp.Address{Local: "both", Domain: "example.test"})
	if err != nil || len(list) != 2 || list[0].Remote || !list[1].Remote || list[1].Address != "x@elsewhere.test" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := d.Resolve(t.Context(), smtp.Address{Local: "nobody", Domain: "example.test"}); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}
