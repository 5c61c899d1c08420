package queue

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func TestAcceptedMessageGoesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", nil)
		synctest.Wait()
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test", "y@far.test", "z@near.test")})
		elapse(100 * time.Millisecond)
		for _, to := range []string{"x@far.test", "y@far.test", "z@near.test"} {
			if n := w.sender.copies("q1 " + to); n != 1 {
				t.Errorf("%s got %d copies, want 1", to, n)
			}
		}
		if left := w.entries(); len(left) != 0 {
			t.Errorf("after delivery there wait %v", left)
		}
	})
}

func TestDeferredMessageIsTriedAgainByThePolicy(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var at []time.Time
		w.sender.set(func(ctx context.Context, m *Message, e *storepb.QueueEntry) Outcome {
			at = append(at, time.Now()) // there is one entry, so one attempt at a time
			if len(at) == 7 {
				return Outcome{Result: store.AttemptDelivered, Code: 250}
			}
			return busy(ctx, m, e)
		})
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		w.pass(5 * time.Hour)
		if len(at) != 7 || w.sender.copies("q1 x@far.test") != 1 || len(w.entries()) != 0 {
			t.Fatalf("%d attempts, %d copies, %v waits", len(at), w.sender.copies("q1 x@far.test"), w.entries())
		}
		for i, step := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, time.Hour} {
			if wait := at[i+1].Sub(at[i]); wait < step*9/10 || wait > step*11/10+time.Second {
				t.Errorf("attempt %d came %s after the one before, want %s and a tenth at most", i+2, wait, step)
			}
		}
	})
}

// A stranger's reply may hold anything. If what came of an attempt could not be written, a delivered message would be delivered again for ever.
func TestAnyReplyCanBeWritten(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(func(context.Context, *Message, *storepb.QueueEntry) Outcome {
			return Outcome{Result: store.AttemptDelivered, Code: 25_000, Status: strings.Repeat("2.0.0 ", 20), Reason: "\xff\xfe\x00 ok\r\nBcc: x" + strings.Repeat("ấ", 2000), Peer: "mx\xff", TLS: "\x01"}
		})
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		w.pass(time.Hour)
		if n := w.sender.copies("q1 x@far.test"); n != 1 {
			t.Errorf("%d copies, want 1", n)
		}
		if len(w.entries()) != 0 {
			t.Errorf("it still waits: %v", w.entries())
		}
	})
}

func TestOutcomeIsWrittenWhateverHappensToItsCommand(t *testing.T) {
	for name, what := range map[string]fault{"refused": refused, "lost": unheard, "done and not heard of": unspoken} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				n, failed := w.nodes["a"], 0
				n.fault = func(c *storepb.Command) fault {
					if c.GetQueueOutcomes() != nil && failed < 5 {
						failed++
						return what
					}
					return none
				}
				w.start("a", nil)
				w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
				w.pass(2 * time.Minute)
				if got := w.sender.copies("q1 x@far.test"); got != 1 || failed == 0 || len(w.entries()) != 0 {
					t.Errorf("%d copies, %d faults, %v waits", got, failed, w.entries())
				}
			})
		})
	}
}

func TestAttemptIsNotMadeBeforeItIsWritten(t *testing.T) {
	for name, what := range map[string]fault{"refused": refused, "lost": unheard, "done and not heard of": unspoken} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				n, failing := w.nodes["a"], true
				n.fault = func(c *storepb.Command) fault {
					if c.GetQueueAttempt() != nil && failing {
						return what
					}
					return none
				}
				w.start("a", nil)
				w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
				elapse(10 * time.Second)
				if tried := w.sender.tried(); len(tried) != 0 {
					t.Errorf("attempts that are written nowhere: %v", tried)
				}
				w.mu.Lock()
				failing = false
				w.mu.Unlock()
				elapse(time.Minute)
				if got := w.sender.copies("q1 x@far.test"); got != 1 {
					t.Errorf("%d copies, want 1", got)
				}
			})
		})
	}
}

func TestInterruptedAttemptIsMadeAgainAfterARestart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		e := w.entries()[0]
		w.do(&storepb.Command{Server: "a", Op: &storepb.Command_QueueAttempt{QueueAttempt: &storepb.QueueAttempt{Refs: []*storepb.QueueRef{refOf(e)}}}})
		w.start("a", nil) // a new process, of the same id
		elapse(5 * time.Second)
		if got := w.sender.copies("q1 x@far.test"); got != 1 {
			t.Errorf("%d copies, want 1", got)
		}
		if kinds := w.kinds("q1"); !slices.Equal(kinds, []string{"accepted", "deferred", "delivered"}) {
			t.Errorf("the trace tells %v", kinds)
		}
	})
}

func TestRestingDestinationIsSparedAndTriedByOneJob(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(down)
		w.start("a", nil)
		w.accept(mail{id: "q0", from: "an@here.test", queued: elsewhere("x@far.test")})
		elapse(time.Second)
		for i := range 50 {
			w.accept(mail{id: "q" + string(rune('A'+i)), from: "an@here.test", queued: elsewhere("x@far.test")})
		}
		elapse(10 * time.Second)
		if n := len(w.sender.tried()); n != 1 {
			t.Errorf("a destination that rests was tried %d times", n)
		}
		for _, e := range w.entries() {
			if e.Reason != "connection refused" || e.Attempting {
				t.Fatalf("what waits for it does not say why: %v", e)
			}
		}
		elapse(time.Minute)
		if n := len(w.sender.tried()); n > 3 {
			t.Errorf("%d attempts at a destination that was down, want one at a time", n)
		}
		w.sender.set(nil)
		w.pass(10 * time.Minute)
		if left := w.entries(); len(left) != 0 {
			t.Errorf("after it came back there wait %d: %v", len(left), left[0])
		}
	})
}

func TestAdministratorsRetryDoesNotWaitForARestingDestination(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(down)
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		w.pass(3 * time.Hour)
		w.sender.set(nil)
		w.act(store.ActionRetry)
		elapse(time.Second)
		if w.sender.copies("q1 x@far.test") != 1 {
			t.Error("a retry was put off")
		}
	})
}

// act does something with all that waits.
func (w *world) act(action store.QueueAction) {
	w.t.Helper()
	var refs []*storepb.QueueRef
	for _, e := range w.entries() {
		refs = append(refs, refOf(e))
	}
	w.do(&storepb.Command{Op: &storepb.Command_QueueAdmin{QueueAdmin: &storepb.QueueAdmin{Refs: refs, Action: uint32(action), Who: "an"}}})
}

func TestHeldMessageWaitsUntilItIsReleased(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		w.act(store.ActionHold)
		w.start("a", nil)
		w.pass(6 * 24 * time.Hour)
		if n := len(w.sender.tried()); n != 0 {
			t.Errorf("a held message was tried %d times", n)
		}
		w.act(store.ActionRelease)
		elapse(time.Second)
		if w.sender.copies("q1 x@far.test") != 1 {
			t.Error("a released message was not sent")
		}
	})
}

func TestWithoutTheQuorumNothingBegins(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var p *process
		w.start("a", func(c *Config) { p = c.Store.(*process) })
		w.mu.Lock()
		p.dead = true
		w.mu.Unlock()
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		elapse(time.Minute)
		if n := len(w.sender.tried()); n != 0 {
			t.Errorf("%d attempts without a quorum", n)
		}
		w.mu.Lock()
		p.dead = false
		w.mu.Unlock()
		elapse(10 * time.Second)
		if w.sender.copies("q1 x@far.test") != 1 {
			t.Error("it was not sent when the quorum was back")
		}
	})
}

func TestShutdownWritesWhatIsUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(func(context.Context, *Message, *storepb.QueueEntry) Outcome {
			elapse(5 * time.Second)
			return Outcome{Result: store.AttemptDelivered, Code: 250}
		})
		n := w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		elapse(time.Second)
		n.stop()
		if left := w.entries(); len(left) != 0 {
			t.Errorf("the end of an attempt is not known after an orderly end: %v", left)
		}
	})
}

func TestShutdownCutsWhatTakesTooLong(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(func(ctx context.Context, _ *Message, _ *storepb.QueueEntry) Outcome {
			<-ctx.Done()
			return Outcome{Result: store.AttemptDeferred, Code: 451, Reason: "cut"}
		})
		n := w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		elapse(time.Second)
		begin := time.Now()
		n.stop()
		if took := time.Since(begin); took > 11*time.Second {
			t.Errorf("the end took %s", took)
		}
		if e := w.entries()[0]; e.Attempting || e.Reason != "cut" {
			t.Errorf("a cut attempt left %v", e)
		}
	})
}

func TestLongAttemptIsNotTakenForAnInterruptedOne(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(func(context.Context, *Message, *storepb.QueueEntry) Outcome {
			elapse(10 * time.Minute)
			return Outcome{Result: store.AttemptDelivered}
		})
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		w.pass(30 * time.Minute)
		if kinds := w.kinds("q1"); w.sender.copies("q1 x@far.test") != 1 || len(kinds) != 2 {
			t.Errorf("%d copies, want 1: %v", w.sender.copies("q1 x@far.test"), kinds)
		}
	})
}

func TestAttemptAtSomeRecipientsShowsThatTheirServerIsUp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(func(ctx context.Context, m *Message, e *storepb.QueueEntry) Outcome {
			if e.Address == "x@far.test" {
				return down(ctx, m, e)
			}
			return Outcome{Result: store.AttemptDelivered}
		})
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test", "y@far.test")})
		elapse(time.Second)
		w.accept(mail{id: "q2", from: "an@here.test", queued: elsewhere("y@far.test")})
		elapse(time.Second)
		if w.sender.copies("q2 y@far.test") != 1 {
			t.Error("a destination that took one recipient rests for the sake of another")
		}
	})
}
