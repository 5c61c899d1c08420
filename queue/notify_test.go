package queue

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

func TestFailureIsToldToTheSenderOnce(t *testing.T) {
	for name, what := range map[string]fault{"at once": none, "refused at first": refused, "lost at first": unheard, "done and not heard of": unspoken} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				an, failed := w.account("an@here.test"), 0
				w.nodes["a"].fault = func(c *storepb.Command) fault {
					if len(c.GetAddMessage().GetEnds()) > 0 && failed < 3 {
						failed++
						return what
					}
					return none
				}
				w.sender.set(unknownUser)
				w.start("a", nil)
				w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test", "y@far.test")})
				w.pass(10 * time.Minute)
				box := w.inbox(an)
				if len(box) != 1 || len(w.entries()) != 0 {
					t.Fatalf("the sender has %d notices, want 1; there waits %v", len(box), w.entries())
				}
				for _, part := range []string{"Return-Path: <>", "multipart/report", "rfc822; x@far.test", "rfc822; y@far.test", "Action: failed", "no such user", "5.1.1"} {
					if !strings.Contains(box[0], part) {
						t.Errorf("the notice does not say %q:\n%s", part, box[0])
					}
				}
			})
		})
	}
}

func TestDelayIsToldOnceAndThenTheFailure(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		an := w.account("an@here.test")
		w.sender.set(busy)
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		w.pass(3*time.Hour + 50*time.Minute)
		if n := len(w.inbox(an)); n != 0 {
			t.Fatalf("%d notices before 4 hours", n)
		}
		w.pass(80 * time.Minute)
		if box := w.inbox(an); count(box, "Action: delayed") != 1 || len(box) != 1 {
			t.Fatalf("after 5 hours the sender has %q", box)
		}
		w.pass(4*24*time.Hour + 18*time.Hour)
		if n := len(w.inbox(an)); n != 1 {
			t.Fatalf("%d notices before 5 days", n)
		}
		w.pass(4 * time.Hour)
		if box := w.inbox(an); count(box, "Action: failed") != 1 || len(box) != 2 || len(w.entries()) != 0 {
			t.Errorf("after 5 days the sender has %d notices, and there waits %v", len(box), w.entries())
		}
		if n := len(w.sender.tried()); n < 100 || n > 140 {
			t.Errorf("%d attempts in 5 days", n)
		}
	})
}

// A warning that cannot be given must not keep the message from its next attempt, or from its end.
func TestUntellableDelayDoesNotStopTheAttempts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(busy)
		w.start("a", func(c *Config) { c.Notices = failing{} })
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		w.account("an@here.test")
		w.pass(6 * time.Hour)
		before := len(w.sender.tried())
		w.pass(6 * time.Hour)
		if n := len(w.sender.tried()) - before; n < 5 {
			t.Errorf("%d attempts in 6 hours, want one each hour", n)
		}
	})
}

type failing struct{}

func (failing) Write(context.Context, io.Writer, Notice) error {
	return errors.New("no")
}

func TestWhoIsToldWhat(t *testing.T) {
	const here, far = "an@here.test", "an@far.test"
	for name, c := range map[string]struct {
		from            string
		notify          store.Notify
		do              func(context.Context, *Message, *storepb.QueueEntry) Outcome
		sender, manager int // notices
	}{
		"failure, nothing asked":          {here, 0, unknownUser, 1, 0},
		"failure asked for":               {here, store.NotifyFailure, unknownUser, 1, 0},
		"failure, never":                  {here, store.NotifyNever, unknownUser, 0, 0},
		"failure, only success asked for": {here, store.NotifySuccess, unknownUser, 0, 0},
		"failure, only delays asked for":  {here, store.NotifyDelay, unknownUser, 0, 0},
		"success asked for, relayed":      {here, store.NotifySuccess, nil, 1, 0},
		"success asked for, promised": {here, store.NotifySuccess, func(context.Context, *Message, *storepb.QueueEntry) Outcome {
			return Outcome{Result: store.AttemptDelivered, Relayed: true}
		}, 0, 0},
		"success, nothing asked":       {here, 0, nil, 0, 0},
		"null sender, failure":         {"", 0, unknownUser, 0, 1},
		"null sender, success asked":   {"", store.NotifySuccess, nil, 0, 0},
		"sender here who is gone":      {"gone@here.test", 0, unknownUser, 0, 1},
		"sender that makes no address": {"@@", 0, unknownUser, 0, 1},
		"discarded by a route": {here, store.NotifySuccess | store.NotifyFailure, func(context.Context, *Message, *storepb.QueueEntry) Outcome {
			return Outcome{Result: store.AttemptDiscarded}
		}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				an, postmaster := w.account(here), w.account("postmaster@here.test")
				w.sender.set(c.do)
				w.start("a", nil)
				q := elsewhere("x@far.test")
				q[0].Notify = uint32(c.notify)
				w.accept(mail{id: "q1", from: c.from, queued: q})
				w.pass(10 * time.Minute)
				if s, p := len(w.inbox(an)), len(w.inbox(postmaster)); s != c.sender || p != c.manager || len(w.entries()) != 0 {
					t.Errorf("the sender has %d notices, the postmaster %d, want %d and %d; there waits %v", s, p, c.sender, c.manager, w.entries())
				}
			})
		})
	}
}

func TestNoticeToARemoteSenderThatFailsGoesToThePostmaster(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		postmaster := w.account("postmaster@here.test")
		w.sender.set(unknownUser)
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "stranger@far.test", queued: elsewhere("x@far.test")})
		w.pass(10 * time.Minute)
		if box := w.inbox(postmaster); len(box) != 1 || len(w.entries()) != 0 {
			t.Errorf("the postmaster has %d notices, want 1; there waits %v", len(box), w.entries())
		}
	})
}

// A postmaster whose mail goes elsewhere, and comes back, must not be told of that for ever.
func TestUnreachablePostmasterIsNotToldOfThat(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.do(&storepb.Command{Op: &storepb.Command_PutAlias{PutAlias: &storepb.PutAlias{Create: true, Alias: &storepb.Alias{Address: "postmaster@here.test", Targets: []string{"boss@far.test"}}}}})
		w.sender.set(unknownUser)
		w.start("a", nil)
		w.accept(mail{id: "q1", queued: elsewhere("x@far.test")})
		w.pass(10 * time.Minute)
		if n := len(w.sender.tried()); n != 2 || len(w.entries()) != 0 {
			t.Errorf("%d attempts, want one at the recipient and one at the postmaster; there waits %v", n, w.entries())
		}
	})
}

// Nobody can be told: that must neither end the process nor fill it.
func TestNoticeForNobodyWaitsForAPostmaster(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.sender.set(unknownUser)
		none := &nobody{}
		n := w.start("a", func(c *Config) { c.Resolver = none })
		w.accept(mail{id: "q1", from: "gone@here.test", queued: elsewhere("x@far.test")})
		w.pass(time.Minute)
		for _, one := range []struct {
			in          time.Duration
			least, most int64
		}{{time.Hour, 4, 30}, {23 * time.Hour, 3, 40}, {7 * 24 * time.Hour, 20, 60}} {
			before := none.asked.Load()
			w.pass(one.in)
			if did := none.asked.Load() - before; did < one.least || did > one.most {
				t.Errorf("%d tries in %s at a notice that cannot be told", did, one.in)
			}
		}
		if !n.m.Untold() {
			t.Error("the manager does not say so")
		}
		n.stop()
		postmaster := w.account("postmaster@here.test")
		n = w.start("a", nil)
		w.act(store.ActionRetry)
		w.pass(10 * time.Minute)
		if len(w.inbox(postmaster)) != 1 || len(w.entries()) != 0 || n.m.Untold() {
			t.Errorf("with a postmaster there waits %v", w.entries())
		}
	})
}

type nobody struct{ asked atomic.Int64 }

func (r *nobody) Postmaster(context.Context) ([]state.Recipient, error) {
	r.asked.Add(1)
	return nil, nil
}

func (*nobody) Resolve(context.Context, smtp.Address) ([]state.Recipient, bool, error) {
	return nil, true, nil
}

func TestBouncedByAnAdministrator(t *testing.T) {
	for name, c := range map[string]struct {
		notify store.Notify
		want   int
	}{"nothing asked": {0, 1}, "never": {store.NotifyNever, 0}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				an := w.account("an@here.test")
				w.sender.set(busy)
				w.start("a", nil)
				q := elsewhere("x@far.test")
				q[0].Notify = uint32(c.notify)
				w.accept(mail{id: "q1", from: "an@here.test", queued: q})
				w.pass(time.Minute)
				w.act(store.ActionBounce)
				w.pass(time.Minute)
				if n := len(w.inbox(an)); n != c.want || len(w.entries()) != 0 {
					t.Errorf("%d notices, want %d; there waits %v", n, c.want, w.entries())
				}
			})
		})
	}
}

func TestHeldFailureKeepsItsReason(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		an := w.account("an@here.test")
		w.accept(mail{id: "q1", from: "an@here.test", queued: elsewhere("x@far.test")})
		e := w.entries()[0]
		w.do(&storepb.Command{Op: &storepb.Command_QueueOutcomes{QueueOutcomes: &storepb.QueueOutcomes{Outcomes: []*storepb.QueueOutcome{{Ref: refOf(e),
			Result: uint32(store.AttemptFailed), Code: 550, Status: "5.1.1", Reason: "no such user", Notice: uint32(store.NoticeFailed)}}}}})
		w.act(store.ActionHold)
		w.start("a", nil)
		w.pass(time.Minute)
		if n := len(w.inbox(an)); n != 0 {
			t.Errorf("%d notices of what is held", n)
		}
		w.act(store.ActionRelease)
		w.pass(time.Minute)
		if box := w.inbox(an); count(box, "no such user") != 1 {
			t.Errorf("the notice does not say why: %q", box)
		}
	})
}

// A notice to an alias that leads elsewhere carries the alias, as any mail does that it passes on: what comes back by it is seen to go round.
func TestNoticeThroughAnAliasSaysSo(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.do(&storepb.Command{Op: &storepb.Command_PutAlias{PutAlias: &storepb.PutAlias{Create: true, Alias: &storepb.Alias{Address: "info@here.test", Targets: []string{"x@away.test"}}}}})
		var passed atomic.Value
		w.sender.set(func(ctx context.Context, m *Message, e *storepb.QueueEntry) Outcome {
			if e.Address != "x@away.test" {
				return unknownUser(ctx, m, e)
			}
			passed.Store(passedBy(e))
			return Outcome{Result: store.AttemptDelivered, Code: 250}
		})
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "info@here.test", queued: elsewhere("y@far.test")})
		w.pass(time.Minute)
		if got := passed.Load(); got != "info@here.test" {
			t.Errorf("the notice came by %v, want the alias", got)
		}
	})
}
