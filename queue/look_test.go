package queue

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// bulk puts many messages of one sender into the queue.
func (w *world) bulk(messages, recipients int) {
	w.t.Helper()
	for i := range messages {
		var to []string
		for r := range recipients {
			to = append(to, fmt.Sprintf("x%d@d%d.test", r, r%50))
		}
		w.accept(mail{id: fmt.Sprint("bulk", i), from: "bulk@here.test", queued: elsewhere(to...)})
	}
}

func TestBulkRunDelaysNoOtherSender(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(func(context.Context, *Message, *storepb.QueueEntry) Outcome {
			elapse(100 * time.Millisecond)
			return Outcome{Result: store.AttemptDelivered}
		})
		w.bulk(20, 1000)
		w.accept(mail{id: "behind", from: "an@here.test", queued: elsewhere("y@far.test")}) // due after all of these
		w.start("a", func(c *Config) { c.InMemory, c.Jobs = 300, 20 })
		elapse(2 * time.Second)
		w.accept(mail{id: "new", from: "binh@here.test", queued: elsewhere("y@far.test")})
		elapse(2 * time.Second)
		if a, b, left := w.sender.copies("behind y@far.test"), w.sender.copies("new y@far.test"), len(w.entries()); a != 1 || b != 1 || left < 5000 {
			t.Errorf("the others have %d and %d copies while %d wait", a, b, left)
		}
		w.pass(time.Hour)
		if left := len(w.entries()); left != 0 || len(w.sender.got) != 20_002 {
			t.Errorf("%d were served, and there wait %d", len(w.sender.got), left)
		}
	})
}

func TestManySendersAreAllServed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 1300 { // more than gaps are remembered for, and than there is room
			w.accept(mail{id: fmt.Sprint("q", i), from: fmt.Sprintf("s%d@here.test", i%1200), queued: elsewhere("x@far.test", "y@near.test")})
		}
		w.start("a", func(c *Config) { c.InMemory, c.Jobs = 100, 20 })
		w.pass(time.Hour)
		if left := len(w.entries()); left != 0 || len(w.sender.got) != 2600 {
			t.Errorf("%d were served, and there wait %d", len(w.sender.got), left)
		}
	})
}

func TestFullLineIsNotLookedAtAgainAndAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bulk(5, 1000)
		m := w.idle(100)
		for range 10 {
			m.refill(context.Background())
		}
		if n := len(m.line.items); n != 50 {
			t.Errorf("%d of one sender are in memory, want half of 100", n)
		}
		if d := m.idle(); d <= 0 {
			t.Error("with a full line the loop does not rest")
		}
		if len(m.looks.gaps) != 1 {
			t.Errorf("gaps: %v", m.looks.gaps)
		}
	})
}

// idle is a Manager whose loop is the test's.
func (w *world) idle(inMemory int) *Manager {
	w.t.Helper()
	n := w.nodes["a"]
	m, err := New(Config{Self: "a", Store: &process{node: n, dead: true}, Sender: w.sender, Resolver: resolver{n}, Cluster: view{n}, Notices: Notices{}, InMemory: inMemory})
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func TestWhatHadNoRoomComesInOrderAsThereIs(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 500 {
			w.accept(mail{id: fmt.Sprint("q", i), from: []string{"bulk@here.test", "bulk2@here.test", "an@here.test"}[min(i%7, 2)%3], queued: elsewhere("x@far.test")})
			elapse(time.Millisecond)
		}
		m := w.idle(40)
		seen, last := 0, map[string]uint64{}
		for range 5000 {
			m.refill(context.Background())
			j := m.line.next(time.Now(), 100)
			if j == nil {
				break
			}
			for _, it := range j.items {
				if it.entry.Message < last[it.from] {
					t.Fatalf("message %d of %s comes after %d", it.entry.Message, it.from, last[it.from])
				}
				last[it.from] = it.entry.Message
				seen++
				w.do(&storepb.Command{Op: &storepb.Command_QueueAdmin{QueueAdmin: &storepb.QueueAdmin{Refs: []*storepb.QueueRef{refOf(it.entry)}, Action: uint32(store.ActionDelete)}}})
			}
			m.line.done(j)
		}
		if seen != 500 || len(m.looks.gaps) != 0 {
			t.Errorf("%d came, want 500; gaps are left: %v", seen, m.looks.gaps)
		}
	})
}

func TestEntriesThatAreNotDueAreNotInMemory(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		q := elsewhere("x@far.test")
		q[0].DueUnixMs = time.Now().Add(3 * time.Hour).UnixMilli()
		for i := range 100 {
			w.accept(mail{id: fmt.Sprint("q", i), from: "an@here.test", queued: q})
		}
		m := w.idle(1000)
		m.refill(context.Background())
		if len(m.line.items) != 0 || m.looks.next.IsZero() || m.idle() != 5*time.Second {
			t.Errorf("%d are in memory; the next is due at %s", len(m.line.items), m.looks.next)
		}
		elapse(3 * time.Hour)
		m.refill(context.Background())
		if len(m.line.items) != 100 {
			t.Errorf("when they are due %d are in memory", len(m.line.items))
		}
	})
}

func TestMissedHintsAreFoundInTheStore(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		m := w.idle(100_000)
		m.refill(context.Background())
		w.bulk(1, 6000)
		v := w.nodes["a"].machine.View()
		var all []*storepb.QueueEntry
		if err := v.QueueEntries(0, 0, func(e *storepb.QueueEntry) bool { all = append(all, e); return true }); err != nil {
			t.Fatal(err)
		}
		v.Close()
		m.Queued(all, false) // over maxHints
		m.refill(context.Background())
		if n := len(m.line.items); n != 6000 {
			t.Errorf("%d are in line, want 6000", n)
		}
	})
}

func TestClockSetBackLosesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		m := w.idle(1000)
		shift := 24 * time.Hour
		m.cfg.Now = func() time.Time { return time.Now().Add(shift) }
		m.refill(context.Background())
		shift += 4 * time.Minute
		m.looks.goOn = true
		m.refill(context.Background())
		shift -= 2 * time.Minute
		q := elsewhere("x@far.test")
		q[0].DueUnixMs = m.cfg.Now().UnixMilli()
		w.accept(mail{id: "q1", from: "an@here.test", queued: q})
		shift += time.Second
		m.looks.goOn = true
		m.refill(context.Background())
		if len(m.line.items) != 1 {
			t.Error("what came after the clock was set back is not found")
		}
	})
}

// A clock that is set back is noticed by the wall clock alone: times with a monotonic reading are compared by that.
func TestLooksGoByTheWallClock(t *testing.T) {
	monotonic := time.Now() // one of a bubble has no such reading
	bubble(t, func(t *testing.T, w *world) {
		m := w.idle(1000)
		m.cfg.Now = func() time.Time { return monotonic }
		m.refill(context.Background())
		for name, at := range map[string]time.Time{"last": m.looks.last, "again": m.looks.again} {
			if strings.Contains(at.String(), "m=") {
				t.Errorf("%s is %s", name, at)
			}
		}
	})
}

// What came while the clock was wrong does not wait until that is the time: an attempt at it once the clock is right puts that right, too.
func TestEntriesOfAWrongClockAreDue(t *testing.T) {
	for name, wrong := range map[string]time.Duration{"seconds": 16 * time.Second, "weeks": 456 * time.Hour, "years": 20 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				m := w.idle(1000)
				shift := wrong
				m.cfg.Now = func() time.Time { return time.Now().Add(shift) }
				m.refill(context.Background())
				q := elsewhere("x@far.test")
				q[0].DueUnixMs = m.cfg.Now().UnixMilli()
				shift = 0
				w.accept(mail{id: "q1", from: "an@here.test", queued: q})
				m.refill(context.Background())
				shift = time.Minute // behind what the first look saw, where the clock was wrong by seconds
				m.refill(context.Background())
				if len(m.line.items) != 1 {
					t.Errorf("%d are in line", len(m.line.items))
				}
			})
		})
	}
}

func TestGapsAreBounded(t *testing.T) {
	l := looker{gaps: map[uint64]state.DueEntry{}, behind: state.DueEntry{DueUnixMs: 100}}
	for i := range uint64(5 * maxGaps) {
		l.gap(i, state.DueEntry{DueUnixMs: 50, Message: i})
	}
	if len(l.gaps) != maxGaps || l.behind.DueUnixMs != 50 || l.behind.Message != maxGaps {
		t.Errorf("%d gaps, and the next look begins behind %v", len(l.gaps), l.behind)
	}
}
