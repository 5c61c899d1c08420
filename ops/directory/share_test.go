package directory

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
)

func TestGuessingIsSlowedOnAllNodes(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	m := NewMetrics()
	here, n := testDirectory(t, func(c *Config) {
		c.Now = func() time.Time { return now }
	})
	there, err := New(Config{Store: n, Metrics: m, Now: func() time.Time { return now }})
	must(t, err)
	for i := range 10 { // what is free
		if _, err := here.Authenticate(t.Context(), somewhere, "alice@example.test", fmt.Sprint("guess ", i)); !errors.Is(err, store.ErrDenied) {
			t.Fatal(err)
		}
	}
	for batch := here.FailedLogins(); batch != nil; batch = here.FailedLogins() {
		must(t, there.Receive(batch))
		must(t, there.Receive(batch)) // it may come twice
	}
	login := func(remote netip.Addr) error {
		_, err := there.Authenticate(t.Context(), remote, "alice@example.test", "alice's secret")
		return err
	}
	if err := login(somewhere); !errors.Is(err, store.ErrDenied) || count(t, m.Hashes) != 0 {
		t.Errorf("the guesser goes on at another node: %v", err)
	}
	must(t, login(netip.MustParseAddr("198.51.100.1"))) // the owner is not locked out
	now = now.Add(time.Minute)
	must(t, login(somewhere))
}

func TestReceiveRefusesNonsense(t *testing.T) {
	d, _ := testDirectory(t, nil)
	for _, b := range [][]byte{nil, {1, 2, 3}, make([]byte, 1<<20)} {
		if err := d.Receive(b); err == nil {
			t.Errorf("%d bytes were taken", len(b))
		}
	}
}
