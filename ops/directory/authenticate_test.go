package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/quorumail/quorumail/store"
)

func TestLogins(t *testing.T) {
	d, _ := testDirectory(t, nil)
	yes := true
	must(t, d.CreateDomain(t.Context(), "müller.test", DomainChange{}))
	if _, err := d.CreateAccount(t.Context(), "Jörg@xn--mller-kva.test", "pässwörter", AccountChange{}); err != nil {
		t.Fatal(err)
	}
	must(t, d.SetAccount(t.Context(), "bob@example.test", AccountChange{Suspended: &yes}))
	must(t, d.CreateAlias(t.Context(), "alias@example.test", AliasSpec{Targets: []string{"alice@example.test"}}))
	for _, tt := range []struct {
		name, user, password, address string
		err                           error
	}{
		{"right", "alice@example.test", "alice's secret", "alice@example.test", nil},
		{"other case", "Alice@Example.TEST", "alice's secret", "alice@example.test", nil},
		{"international", "jörg@müller.test", "pässwörter", "jörg@müller.test", nil},
		{"wrong", "alice@example.test", "alice's secrets", "", store.ErrDenied},
		{"empty", "alice@example.test", "", "", store.ErrDenied},
		{"far too long", "alice@example.test", strings.Repeat("x", 1<<20), "", store.ErrDenied},
		{"unknown", "carol@example.test", "alice's secret", "", store.ErrDenied},
		{"no address", "alice", "alice's secret", "", store.ErrDenied},
		{"alias", "alias@example.test", "alice's secret", "", store.ErrDenied},
		{"suspended", "bob@example.test", "bob's secret", "", store.ErrDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := d.Authenticate(t.Context(), somewhere, tt.user, tt.password)
			if !errors.Is(err, tt.err) || id.Address != tt.address {
				t.Errorf("got %+v, %v, want %q, %v", id, err, tt.address, tt.err)
			}
		})
	}
}

func TestRepeatedLoginsCostOneHash(t *testing.T) {
	m := NewMetrics()
	d, _ := testDirectory(t, func(c *Config) { c.Metrics = m })
	begin := time.Now()
	for range 1000 {
		if _, err := d.Authenticate(t.Context(), somewhere, "alice@example.test", "alice's secret"); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("1,000 logins in %v", time.Since(begin))
	if n := count(t, m.Hashes); n != 1 {
		t.Errorf("%v hashes", n)
	}
	for range 3 {
		if _, err := d.Authenticate(t.Context(), somewhere, "alice@example.test", "alice's secret."); !errors.Is(err, store.ErrDenied) {
			t.Fatal(err)
		}
	}
	if n := count(t, m.Hashes); n != 4 {
		t.Errorf("%v hashes: a wrong password must be hashed each time", n)
	}
}

func TestUnknownUsersCostAHash(t *testing.T) {
	m := NewMetrics()
	d, _ := testDirectory(t, func(c *Config) { c.Metrics = m })
	for i, user := range []string{"carol@example.test", "carol@elsewhere.test", "nonsense"} {
		_, err := d.Authenticate(t.Context(), somewhere, user, "x")
		if n := count(t, m.Hashes); !errors.Is(err, store.ErrDenied) || n != float64(i+1) {
			t.Errorf("%s: %v after %v hashes", user, err, n)
		}
	}
}

func TestChangedPasswordCountsAtOnce(t *testing.T) {
	d, _ := testDirectory(t, nil)
	login := func(password string) error {
		_, err := d.Authenticate(t.Context(), somewhere, "alice@example.test", password)
		return err
	}
	must(t, login("alice's secret"))
	must(t, d.SetPassword(t.Context(), "alice@example.test", "another one"))
	if err := login("alice's secret"); !errors.Is(err, store.ErrDenied) {
		t.Errorf("the old password: %v", err)
	}
	must(t, login("another one"))
	yes, no := true, false
	must(t, d.SetAccount(t.Context(), "alice@example.test", AccountChange{Suspended: &yes}))
	if err := login("another one"); !errors.Is(err, store.ErrDenied) {
		t.Errorf("a suspended account: %v", err)
	}
	must(t, d.SetAccount(t.Context(), "alice@example.test", AccountChange{Suspended: &no}))
	must(t, login("another one"))
	must(t, d.RemoveAccount(t.Context(), "alice@example.test"))
	if err := login("another one"); !errors.Is(err, store.ErrDenied) {
		t.Errorf("a removed account: %v", err)
	}
}

func TestAppPasswords(t *testing.T) {
	d, _ := testDirectory(t, nil)
	p, err := d.AddAppPassword(t.Context(), "alice@example.test", "phone")
	must(t, err)
	if _, err := d.AddAppPassword(t.Context(), "alice@example.test", "laptop"); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{p.Password, strings.ReplaceAll(p.Password, "-", ""), strings.ToUpper(p.Password)} {
		id, err := d.Authenticate(t.Context(), somewhere, "alice@example.test", form)
		if err != nil || id.AppPassword != p.ID {
			t.Errorf("%q: %+v, %v", form, id, err)
		}
	}
	if _, err := d.Authenticate(t.Context(), somewhere, "bob@example.test", p.Password); !errors.Is(err, store.ErrDenied) {
		t.Errorf("another's: %v", err)
	}
	info, err := d.Account(t.Context(), "alice@example.test")
	if err != nil || len(info.AppPasswords) != 2 || info.AppPasswords[0].Password != "" {
		t.Errorf("account %+v, %v", info, err)
	}
	must(t, d.RemoveAppPassword(t.Context(), "alice@example.test", p.ID))
	if _, err := d.Authenticate(t.Context(), somewhere, "alice@example.test", p.Password); !errors.Is(err, store.ErrDenied) {
		t.Errorf("a removed one: %v", err)
	}
	if err := d.RemoveAppPassword(t.Context(), "alice@example.test", "password"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the account's own password was removed as an app password: %v", err)
	}
}

func TestLoginWithoutQuorumIsUnavailable(t *testing.T) {
	d, n := testDirectory(t, nil)
	for _, err := range []error{fmt.Errorf("x: %w", store.ErrUnavailable), context.DeadlineExceeded} {
		n.mu.Lock()
		n.barrier = err
		n.mu.Unlock()
		if _, err := d.Authenticate(t.Context(), somewhere, "alice@example.test", "alice's secret"); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrDenied) {
			t.Errorf("got %v", err)
		}
	}
}

func count(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	must(t, c.Write(&m))
	return m.GetCounter().GetValue()
}
