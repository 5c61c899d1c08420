package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Mail that a smarthost passes on goes to the smarthost, whatever its domain: one back-off, one limit, one transaction.

func TestDeadSmarthostRestsOnceForAllItsDomains(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 50 {
			w.sender.route("smart:relay", fmt.Sprintf("d%d.test", i))
		}
		w.sender.set(func(ctx context.Context, m *Message, e *storepb.QueueEntry) Outcome {
			if strings.HasSuffix(e.Address, "@near.test") {
				return Outcome{Result: store.AttemptDelivered}
			}
			return down(ctx, m, e)
		})
		w.start("a", nil)
		w.accept(mail{id: "q", from: "an@here.test", queued: elsewhere("x@d0.test")})
		elapse(time.Second)
		for i := range 50 {
			w.accept(mail{id: fmt.Sprint("q", i), from: "an@here.test", queued: elsewhere(fmt.Sprintf("x@d%d.test", i))})
		}
		w.accept(mail{id: "near", from: "an@here.test", queued: elsewhere("x@near.test")})
		elapse(10 * time.Second)
		if n := len(w.sender.tried()); n != 2 || w.sender.copies("near x@near.test") != 1 {
			t.Errorf("a dead smarthost was tried %d times, want 1: %q", n-1, w.sender.tried())
		}
		w.sender.set(nil)
		w.pass(10 * time.Minute)
		if left := w.entries(); len(left) != 0 {
			t.Errorf("after it came back there wait %d", len(left))
		}
	})
}

// What fails before anybody is asked says nothing of the destination, and ends no rest.
func TestMessageThatAsksNobodyEndsNoRest(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.route("smart:relay", "a.test", "b.test")
		w.sender.set(func(ctx context.Context, m *Message, e *storepb.QueueEntry) Outcome {
			if e.Address == "x@b.test" {
				return Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.3.0", Reason: "local trouble", Peer: "nobody"}
			}
			return down(ctx, m, e)
		})
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@a.test")})
		elapse(40 * time.Second) // the first rest is over, and q1 waits for its next attempt
		w.accept(mail{id: "q2", from: "binh@here.test", queued: elsewhere("x@b.test")})
		elapse(time.Second)
		before := len(w.sender.tried())
		for i := range 10 {
			w.accept(mail{id: fmt.Sprint("new", i), from: "an@here.test", queued: elsewhere("x@a.test")})
		}
		elapse(time.Second)
		if n := len(w.sender.tried()) - before; before != 2 || n != 1 {
			t.Errorf("a dead smarthost was tried %d times at once, want 1; %q", n, w.sender.tried())
		}
	})
}

func TestRecipientsOfAllDomainsOfASmarthostShareATransaction(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.route("smart:relay", "a.test", "b.test")
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@a.test", "x@far.test", "x@b.test")})
		elapse(time.Second)
		sent := w.sender.sent()
		slices.Sort(sent)
		if !slices.Equal(sent, []string{"q1 x@a.test x@b.test", "q1 x@far.test"}) {
			t.Errorf("sent together: %q", sent)
		}
	})
}

func TestSmarthostHasOneLimit(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		under, most := 0, 0
		w.sender.set(func(context.Context, *Message, *storepb.QueueEntry) Outcome {
			w.sender.mu.Lock()
			under++
			most = max(most, under)
			w.sender.mu.Unlock()
			elapse(time.Second)
			w.sender.mu.Lock()
			under--
			w.sender.mu.Unlock()
			return Outcome{Result: store.AttemptDelivered}
		})
		w.start("a", func(c *Config) { c.PerDestination = func() int { return 3 } })
		for i := range 10 {
			domain := fmt.Sprintf("d%d.test", i)
			w.sender.route("smart:relay", domain)
			w.accept(mail{id: fmt.Sprint("q", i), from: "an@here.test", queued: elsewhere("x@" + domain)})
		}
		elapse(time.Minute)
		left := len(w.entries())
		w.sender.mu.Lock()
		defer w.sender.mu.Unlock()
		if most != 3 || left != 0 {
			t.Errorf("%d at once, want 3; %d wait", most, left)
		}
	})
}

// What waits in line goes where the routes lead when its turn comes.
func TestRouteThatChangesWhileEntriesWaitInLine(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.route("smart:relay", "a.test", "b.test")
		w.sender.set(func(context.Context, *Message, *storepb.QueueEntry) Outcome {
			elapse(time.Minute)
			return Outcome{Result: store.AttemptDelivered}
		})
		w.start("a", func(c *Config) { c.PerDestination = func() int { return 1 } })
		w.accept(mail{id: "q0", from: "an@here.test", queued: elsewhere("x@a.test")})
		elapse(time.Second)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@a.test", "x@b.test")}) // waits for the only connection
		elapse(time.Second)
		w.sender.route("mx:b.test", "b.test")
		elapse(10 * time.Minute)
		sent := w.sender.sent()
		slices.Sort(sent)
		if !slices.Equal(sent, []string{"q0 x@a.test", "q1 x@a.test", "q1 x@b.test"}) || len(w.entries()) != 0 {
			t.Errorf("sent together: %q", sent)
		}
	})
}

// A route away from a dead smarthost helps what is new at once, and what waits when it is due or retried.
func TestRouteAwayFromADeadSmarthost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.route("smart:relay", "a.test", "b.test")
		w.sender.set(func(ctx context.Context, m *Message, e *storepb.QueueEntry) Outcome {
			if strings.HasPrefix(w.sender.Destination(domainOf(e.Address)), "smart:") {
				return down(ctx, m, e)
			}
			return Outcome{Result: store.AttemptDelivered}
		})
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@a.test", "x@b.test")})
		w.pass(3 * time.Hour)
		w.sender.route("mx:a.test", "a.test")
		w.accept(mail{id: "q2", from: "an@here.test", queued: elsewhere("x@a.test")})
		elapse(time.Second)
		if w.sender.copies("q2 x@a.test") != 1 {
			t.Error("new mail waits for a smarthost that it has nothing to do with any more")
		}
		w.pass(time.Hour)
		if w.sender.copies("q1 x@a.test") != 1 {
			t.Error("mail that waited is not sent the new way")
		}
		if left := w.entries(); len(left) != 1 || left[0].Address != "x@b.test" {
			t.Errorf("there wait %v", left)
		}
	})
}

// What an attempt meets that was begun before the routes changed says nothing of either destination.
func TestFailureUnderAnotherRouteIsNotHeldAgainstADestination(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.route("smart:relay", "a.test", "b.test")
		w.sender.set(func(ctx context.Context, m *Message, e *storepb.QueueEntry) Outcome {
			if e.Address == "x@b.test" {
				return Outcome{Result: store.AttemptDelivered}
			}
			w.sender.route("mx:a.test", "a.test") // before the sender looks at the routes
			return down(ctx, m, e)
		})
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@a.test")})
		elapse(time.Second)
		w.accept(mail{id: "q2", from: "an@here.test", queued: elsewhere("x@b.test")})
		elapse(time.Second)
		if w.sender.copies("q2 x@b.test") != 1 {
			t.Error("the smarthost rests for what another host did")
		}
	})
}
