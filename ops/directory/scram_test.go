package directory

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/store"
)

// knows is what a client shows that knows a password.
func knows(t *testing.T, d *Directory, user, password string) func(sasl.SCRAM) bool {
	t.Helper()
	salt, iterations, err := d.SCRAMParameters(t.Context(), user)
	must(t, err)
	mine, err := sasl.DeriveSCRAM(password, salt, iterations)
	must(t, err)
	return func(keys sasl.SCRAM) bool { return mine.String() == keys.String() }
}

func scramLogin(t *testing.T, d *Directory, user, password string) (Identity, error) {
	t.Helper()
	return d.FinishSCRAM(t.Context(), somewhere, user, knows(t, d, user, password))
}

// One salt is sent before it is known which password the client has: it must be good for all of them, in whatever order they are set.
func TestLoginBySCRAMWithEachPassword(t *testing.T) {
	d, _ := testDirectory(t, nil)
	first, err := d.AddAppPassword(t.Context(), "alice@example.test", "phone")
	must(t, err)
	must(t, d.SetPassword(t.Context(), "alice@example.test", "another secret"))
	second, err := d.AddAppPassword(t.Context(), "alice@example.test", "tablet")
	must(t, err)
	for password, app := range map[string]string{"another secret": "", first.Password: first.ID, second.Password: second.ID} {
		id, err := scramLogin(t, d, "Alice@Example.test", password)
		if err != nil || id.Address != "alice@example.test" || id.AppPassword != app {
			t.Errorf("%s: %+v, %v", password, id, err)
		}
	}
	must(t, d.RemoveAppPassword(t.Context(), "alice@example.test", first.ID))
	for _, password := range []string{"alice's secret", first.Password} {
		if _, err := scramLogin(t, d, "alice@example.test", password); !errors.Is(err, store.ErrDenied) {
			t.Errorf("%s: %v", password, err)
		}
	}
}

func TestNewPasswordHasANewSaltWhenItIsAlone(t *testing.T) {
	d, _ := testDirectory(t, nil)
	before, _, err := d.SCRAMParameters(t.Context(), "alice@example.test")
	must(t, err)
	must(t, d.SetPassword(t.Context(), "alice@example.test", "another secret"))
	after, _, err := d.SCRAMParameters(t.Context(), "alice@example.test")
	must(t, err)
	if bytes.Equal(before, after) {
		t.Error("the salt stays")
	}
}

// RFC 5802 §9: nobody learns which addresses there are.
func TestUnknownUserHasASaltOfHisOwn(t *testing.T) {
	key := func(c *Config) { c.SaltKey = func() ([]byte, error) { return []byte("the cluster's"), nil } }
	here, _ := testDirectory(t, key)
	there, _ := testDirectory(t, key)
	a, rounds, err := here.SCRAMParameters(t.Context(), "nobody@example.test")
	must(t, err)
	b, _, err := there.SCRAMParameters(t.Context(), "Nobody@example.test")
	must(t, err)
	other, _, err := here.SCRAMParameters(t.Context(), "somebody@example.test")
	must(t, err)
	real, realRounds, err := here.SCRAMParameters(t.Context(), "alice@example.test")
	must(t, err)
	if !bytes.Equal(a, b) || bytes.Equal(a, other) || len(a) != len(real) || rounds != realRounds {
		t.Errorf("salts %x, %x, %x, %x; rounds %d, %d", a, b, other, real, rounds, realRounds)
	}
	if _, err := scramLogin(t, here, "nobody@example.test", "x"); !errors.Is(err, store.ErrDenied) {
		t.Error(err)
	}
}

func TestSuspendedAccountDoesNotLogInBySCRAM(t *testing.T) {
	d, _ := testDirectory(t, nil)
	yes := true
	must(t, d.SetAccount(t.Context(), "bob@example.test", AccountChange{Suspended: &yes}))
	if _, err := scramLogin(t, d, "bob@example.test", "bob's secret"); !errors.Is(err, store.ErrDenied) {
		t.Error(err)
	}
}

func TestGuessingBySCRAMIsSlowed(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	d, _ := testDirectory(t, func(c *Config) { c.Now = func() time.Time { return now } })
	for range 10 { // what is free
		if _, err := scramLogin(t, d, "alice@example.test", "wrong"); !errors.Is(err, store.ErrDenied) {
			t.Fatal(err)
		}
	}
	if _, err := scramLogin(t, d, "alice@example.test", "alice's secret"); !errors.Is(err, store.ErrDenied) {
		t.Error("the guesser goes on")
	}
	if _, err := d.Authenticate(t.Context(), somewhere, "alice@example.test", "alice's secret"); !errors.Is(err, store.ErrDenied) {
		t.Error("the guesser goes on with PLAIN")
	}
	now = now.Add(time.Minute)
	_, err := scramLogin(t, d, "alice@example.test", "alice's secret")
	must(t, err)
}
