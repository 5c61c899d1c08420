package tally

import (
	"errors"
	"strconv"
	"testing"
	"time"
)

// clock is the time of a test.
type clock struct{ now time.Time }

func newCounter(t *testing.T, c *clock, entries int) *Counter {
	t.Helper()
	n, err := NewCounter(CounterConfig{Kind: 7, Window: time.Minute, Entries: entries, Now: func() time.Time { return c.now }})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func start() *clock { return &clock{time.Unix(1_800_000_000, 0)} } // a minute begins there

func TestTakeStopsAtTheLimit(t *testing.T) {
	c := newCounter(t, start(), 0)
	if !c.Take("a", 7, 10) || c.Take("a", 4, 10) || !c.Take("a", 3, 10) || c.Take("a", 1, 10) {
		t.Error("not 10 in all")
	}
	if !c.Take("b", 10, 10) {
		t.Error("clients are not counted apart")
	}
	if c.Count("a") != 10 || c.Count("nobody") != 0 {
		t.Errorf("a %d, nobody %d", c.Count("a"), c.Count("nobody"))
	}
}

func TestWindowSlides(t *testing.T) {
	at := start()
	c := newCounter(t, at, 0)
	at.now = at.now.Add(30 * time.Second)
	c.Take("a", 100, 100)
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{29 * time.Second, 100}, {30 * time.Second, 100}, {45 * time.Second, 75}, {60 * time.Second, 50}, {89 * time.Second, 2}, {90 * time.Second, 0}, {time.Hour, 0}, {-time.Hour, 100}} {
		now := at.now
		at.now = now.Add(tt.after)
		if got := c.Count("a"); got != tt.want {
			t.Errorf("after %v: %d, want %d", tt.after, got, tt.want)
		}
		at.now = now
	}
}

func TestNodesCountTogether(t *testing.T) {
	at := start()
	here, there := newCounter(t, at, 0), newCounter(t, at, 0)
	for i := range 100 {
		here.Take("client "+strconv.Itoa(i), i+1, 1000)
	}
	batches := 0
	for b := here.Export(1000); b != nil; b = here.Export(1000) {
		if batches++; len(b) > 1000 {
			t.Errorf("a batch of %d bytes", len(b))
		}
		for range 2 { // it may come twice
			if err := there.Import(b); err != nil {
				t.Fatal(err)
			}
		}
		if err := here.Import(b); err != nil { // or back
			t.Fatal(err)
		}
	}
	if batches != 2 {
		t.Errorf("%d batches", batches)
	}
	for i := range 100 {
		for _, c := range []*Counter{here, there} {
			if got := c.Count("client " + strconv.Itoa(i)); got != i+1 {
				t.Fatalf("client %d has %d", i, got)
			}
		}
	}
	if b := there.Export(1000); b != nil {
		t.Errorf("what others told is told on: %d bytes", len(b))
	}
}

func TestImportRefusesNonsense(t *testing.T) {
	c := newCounter(t, start(), 0)
	other := NewExchange(8, entryBytes)
	for _, b := range [][]byte{nil, {7}, make([]byte, headBytes+1), make([]byte, maxBytes+entryBytes), other.Begin(0)} {
		if err := c.Import(b); !errors.Is(err, ErrBatch) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

func TestCounterIsBounded(t *testing.T) {
	c := newCounter(t, start(), 32)
	c.Take("heavy", 1000, 1000)
	for i := range 1000 {
		c.Take(strconv.Itoa(i), 1, 1000)
	}
	if len(c.clients) > 32 || len(c.dirty) > 32 {
		t.Errorf("%d clients, %d to tell", len(c.clients), len(c.dirty))
	}
	if c.Count("heavy") != 1000 {
		t.Error("a flood pushed out the heaviest")
	}
	for b := c.Export(100); b != nil; b = c.Export(100) { // nothing that is gone is told
	}
}

func TestExchangeTakesEachBatchOnce(t *testing.T) {
	from, to := NewExchange(1, 1), NewExchange(1, 1)
	var all [][]byte
	for range 100 {
		all = append(all, append(from.Begin(1), 'x'))
	}
	order := []int{0, 1, 5, 3, 3, 0, 99, 98, 99, 20, 40, 40}
	want := []bool{true, true, true, true, false, false, true, true, false, false, true, false} // 20 is too long ago to know
	for i, n := range order {
		entries, err := to.Take(all[n])
		if err != nil || (entries != nil) != want[i] {
			t.Errorf("batch %d: %q, %v", n, entries, err)
		}
	}
	for i := range 2 * maxOrigins {
		x := NewExchange(1, 1)
		if entries, err := to.Take(append(x.Begin(1), 'x')); err != nil || string(entries) != "x" {
			t.Fatalf("origin %d: %q, %v", i, entries, err)
		}
	}
	if len(to.seen) > maxOrigins {
		t.Errorf("%d origins are remembered", len(to.seen))
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte{7})
	f.Add(append(NewExchange(7, entryBytes).Begin(1), make([]byte, entryBytes)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newCounter(t, start(), 4)
		if err := c.Import(b); err != nil && !errors.Is(err, ErrBatch) {
			t.Fatal(err)
		}
	})
}

func TestWindow(t *testing.T) {
	var w window
	for _, tc := range []struct {
		number uint64
		first  bool
	}{{1, true}, {1, false}, {3, true}, {2, true}, {2, false}, {3, false}, {66, true}, {3, false}, {4, true}, {2, false}, {500, true}, {66, false}, {499, true}, {500, false}} {
		if got := w.first(tc.number); got != tc.first {
			t.Errorf("%d: %v", tc.number, got)
		}
	}
}
