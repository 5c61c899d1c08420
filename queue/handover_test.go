package queue

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func TestEntriesOfALostNodeGoToTheOthersInSeconds(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", nil)
		w.start("b", nil)
		w.set(func() { w.nodes["c"].away = true }) // and never started
		for i := range 600 {
			w.accept(mail{node: "c", id: fmt.Sprint("q", i), from: "an@here.test", queued: elsewhere("x@far.test", "y@near.test")})
		}
		elapse(15 * time.Second)
		if left := w.entries(); len(left) != 0 || len(w.sender.got) != 1200 {
			t.Errorf("%d recipients were served, %d wait", len(w.sender.got), len(left))
		}
	}, "a", "b", "c")
}

func TestBrieflyAbsentNodeKeepsItsEntries(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", nil)
		w.accept(mail{node: "b", id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		for range 10 {
			w.set(func() { w.nodes["b"].away = true })
			elapse(2 * time.Second)
			w.set(func() { w.nodes["b"].away = false })
			elapse(2 * time.Second)
		}
		if e := w.entries()[0]; e.Owner != "b" || e.Epoch != 1 {
			t.Errorf("the entry is %s's, epoch %d", e.Owner, e.Epoch)
		}
	}, "a", "b")
}

// The former owner was only cut off, and goes on with what it had begun: what it says then is refused, but that it delivered.
func TestCutOffOwnerIsFenced(t *testing.T) {
	for name, result := range map[string]store.AttemptResult{"delivered": store.AttemptDelivered, "failed": store.AttemptFailed} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				an := w.account("an@here.test")
				w.sender.set(func(ctx context.Context, m *Message, e *storepb.QueueEntry) Outcome {
					if e.Owner == "b" {
						elapse(20 * time.Second)
						return Outcome{Result: result, Code: 550}
					}
					return busy(ctx, m, e)
				})
				var p *process
				w.start("a", nil)
				w.start("b", func(c *Config) { p = c.Store.(*process) })
				w.accept(mail{node: "b", id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
				elapse(time.Second)
				w.set(func() { w.nodes["b"].away, p.dead = true, true })
				elapse(25 * time.Second)
				if e := w.entries()[0]; e.Owner != "a" || e.Epoch != 2 {
					t.Fatalf("the entry was not handed over: %v", e)
				}
				w.set(func() { w.nodes["b"].away, p.dead = false, false })
				elapse(10 * time.Second)
				left, notices := len(w.entries()), len(w.inbox(an))
				if notices != 0 || left != map[store.AttemptResult]int{store.AttemptDelivered: 0, store.AttemptFailed: 1}[result] {
					t.Errorf("after the former owner's word %d wait, and the sender has %d notices", left, notices)
				}
			}, "a", "b")
		})
	}
}

func TestLeavingNodeFinishesAndHandsOver(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(func(_ context.Context, m *Message, e *storepb.QueueEntry) Outcome {
			if m.QueueId == "slow" && e.Owner == "b" {
				elapse(3 * time.Second)
				return Outcome{Result: store.AttemptDelivered}
			}
			return Outcome{Result: store.AttemptDeferred, Reason: "busy"}
		})
		w.start("a", nil)
		b := w.start("b", nil)
		w.accept(mail{node: "b", id: "slow", from: "an@here.test", queued: elsewhere("x@far.test")})
		w.accept(mail{node: "b", id: "q1", from: "an@here.test", queued: elsewhere("x@near.test")})
		elapse(time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.m.Leave(ctx); err != nil {
			t.Fatal(err)
		}
		left := w.entries()
		if len(left) != 1 || left[0].Owner != "a" || w.sender.copies("slow x@far.test") != 1 {
			t.Fatalf("after the leave there waits %v", left)
		}
		if n := len(w.kinds("slow")); n != 2 {
			t.Errorf("what was under way was not waited for: %v", w.kinds("slow"))
		}
		w.accept(mail{node: "b", id: "q2", from: "an@here.test", queued: elsewhere("x@far.test")})
		before := len(w.sender.tried())
		elapse(5 * time.Second)
		if len(w.sender.tried()) != before {
			t.Error("a node that left began something")
		}
	}, "a", "b")
}

func TestLeavingNodeCutsWhatTakesTooLong(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(func(ctx context.Context, _ *Message, e *storepb.QueueEntry) Outcome {
			if e.Owner == "b" {
				<-ctx.Done()
				return Outcome{Result: store.AttemptDeferred, Reason: "cut"}
			}
			return Outcome{Result: store.AttemptDelivered}
		})
		b := w.start("b", nil)
		w.accept(mail{node: "b", id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		elapse(time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.m.Leave(ctx); err != nil {
			t.Fatal(err)
		}
		if e := w.entries()[0]; e.Owner != "a" || e.Reason != "cut" {
			t.Errorf("after the leave there waits %v", e)
		}
	}, "a", "b")
}

func TestLastNodeKeepsItsEntries(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(busy)
		a := w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		if err := a.m.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		if e := w.entries()[0]; e.Owner != "a" {
			t.Errorf("the entry is %s's", e.Owner)
		}
	})
}

// A leader that leaves is no worker any more, and its attempts are not lost: it ends them.
func TestLeavingLeaderDoesNotTakeItsOwnAttemptsForLost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(func(_ context.Context, _ *Message, e *storepb.QueueEntry) Outcome {
			elapse(20 * time.Second)
			return Outcome{Result: store.AttemptDelivered}
		})
		w.start("a", nil)
		w.start("b", nil)
		w.accept(mail{node: "a", id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		elapse(time.Second)
		w.set(func() { w.nodes["a"].away = true })
		elapse(30 * time.Second)
		if n := w.sender.copies("q1 x@far.test"); n != 1 || len(w.kinds("q1")) != 2 {
			t.Errorf("%d copies, want 1: %v", n, w.kinds("q1"))
		}
	}, "a", "b")
}
