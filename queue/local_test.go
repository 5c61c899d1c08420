package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func TestMailForAFullMailboxWaitsForRoom(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		an := w.account("an@here.test")
		w.change(&storepb.Account{Id: an, QuotaBytes: 10})
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "binh@here.test", queued: one(store.QueueLocal, "an@here.test", an, 0)})
		w.pass(5 * time.Hour)
		e := w.entries()
		if len(e) != 1 || e[0].Reason != "the mailbox is full" || e[0].Attempts < 5 || e[0].Attempts > 12 {
			t.Fatalf("after 5 hours there waits %v", e)
		}
		if n := len(w.kinds("q1")); n > 4 {
			t.Errorf("the trace repeats itself: %v", w.kinds("q1"))
		}
		w.change(&storepb.Account{Id: an, QuotaBytes: store.Unlimited})
		elapse(2 * time.Second)
		if n := len(w.inbox(an)); n != 1 {
			t.Errorf("%d messages soon after the quota was raised, want 1", n)
		}
	})
}

func TestMailOfASuspendedAccountComesWhenItIsNotAnyMore(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		an, binh := w.account("an@here.test"), w.account("binh@here.test")
		w.change(&storepb.Account{Id: an, Suspended: true})
		w.change(&storepb.Account{Id: binh, Suspended: true})
		w.start("a", func(c *Config) { c.InMemory = 20 })
		for i := range 100 {
			w.accept(mail{id: fmt.Sprint("q", i), from: fmt.Sprintf("s%d@here.test", i%7), queued: one(store.QueueLocal, "an@here.test", an, 0)})
		}
		w.accept(mail{id: "other", from: "s0@here.test", queued: one(store.QueueLocal, "binh@here.test", binh, 0)})
		w.pass(8 * time.Hour)
		if n := len(w.inbox(an)); n != 0 {
			t.Fatalf("a suspended account got %d messages", n)
		}
		w.change(&storepb.Account{Id: an})
		elapse(15 * time.Second)
		if n := len(w.inbox(an)); n != 100 {
			t.Errorf("%d messages soon after its suspension ended, want 100", n)
		}
		if left := w.entries(); len(left) != 1 || left[0].Account != binh {
			t.Errorf("there wait %d", len(left))
		}
	})
}

func TestMailForARemovedAccountIsReturned(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		an, binh := w.account("an@here.test"), w.account("binh@here.test")
		w.change(&storepb.Account{Id: an, Suspended: true})
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "binh@here.test", queued: one(store.QueueLocal, "an@here.test", an, 0)})
		w.pass(time.Minute)
		w.do(&storepb.Command{Op: &storepb.Command_RemoveAccount{RemoveAccount: &storepb.RemoveAccount{Account: an}}})
		w.pass(10 * time.Minute)
		if box := w.inbox(binh); count(box, "5.1.1") != 1 || len(w.entries()) != 0 {
			t.Errorf("the sender has %q, and there waits %v", box, w.entries())
		}
	})
}

func TestSuccessInAMailboxIsToldWhereItWasAskedFor(t *testing.T) {
	for name, queued := range map[string]store.Queue{"that was full": store.QueueLocal, "that was found later": store.QueueIn} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				an, binh := w.account("an@here.test"), w.account("binh@here.test")
				account := an
				if queued == store.QueueIn {
					account = 0
				}
				w.start("a", nil)
				w.accept(mail{id: "q1", from: "binh@here.test", queued: one(queued, "an@here.test", account, store.NotifySuccess)})
				w.pass(time.Minute)
				if box := w.inbox(binh); len(w.inbox(an)) != 1 || len(box) != 1 || count(box, "Action: delivered") != 1 || len(w.entries()) != 0 {
					t.Errorf("%d delivered, the sender has %q, and there waits %v", len(w.inbox(an)), box, w.entries())
				}
			})
		})
	}
}

// verdicts is a Judge that says what it is told to.
type verdicts struct{ f func() (Verdict, error) }

func (v verdicts) Judge(context.Context, *Message, []*storepb.QueueEntry) (Verdict, error) {
	return v.f()
}

func judging(v Verdict, err error) func(*Config) {
	return func(c *Config) { c.Judge = verdicts{func() (Verdict, error) { return v, err }} }
}

func TestJudgedMessage(t *testing.T) {
	for name, c := range map[string]struct {
		verdict           Verdict
		err               error
		anHas, senderGets int
		left              string // reason of what waits; "": nothing does
	}{
		"taken":      {Verdict{}, nil, 1, 0, ""},
		"rejected":   {Verdict{Reject: true, Reason: "a bad word"}, nil, 0, 1, ""},
		"held":       {Verdict{Hold: true, Reason: "look at it"}, nil, 0, 0, "look at it"},
		"not judged": {Verdict{}, errors.New("out of order"), 0, 0, "the checks could not be made: out of order"},
		"put off":    {Verdict{Tempfail: true, Reason: "later"}, nil, 0, 0, "later"},
		"tagged":     {Verdict{Headers: []string{"X-Tag: yes\r\n"}, Reason: "tagged"}, nil, 1, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				an, binh := w.account("an@here.test"), w.account("binh@here.test")
				w.start("a", judging(c.verdict, c.err))
				q := append(one(store.QueueIn, "an@here.test", 0, 0), one(store.QueueIn, "x@far.test", 0, 0)...)
				w.accept(mail{id: "q1", from: "binh@here.test", queued: q, text: "Return-Path: <binh@here.test>\r\nSubject: hi\r\n\r\nhello\r\n"})
				w.pass(5 * time.Second)
				if a, b, far := len(w.inbox(an)), len(w.inbox(binh)), w.sender.copies("q1 x@far.test"); a != c.anHas || b != c.senderGets || far != c.anHas {
					t.Errorf("the recipients have %d and %d, the sender %d; want %d, %d, %d", a, far, b, c.anHas, c.anHas, c.senderGets)
				}
				left := w.entries()
				if (len(left) == 0) != (c.left == "") || len(left) > 0 && left[0].Reason != c.left {
					t.Errorf("there waits %v, want %q", left, c.left)
				}
				if name == "tagged" && (count(w.inbox(an), "Return-Path: <binh@here.test>\r\nX-Tag: yes\r\nSubject: hi\r\n") != 1 || !strings.HasSuffix(w.sender.texts[0], "X-Tag: yes\r\nSubject: hi\r\n\r\nhello\r\n")) {
					t.Errorf("the tag is not where it belongs: %q, %q", w.inbox(an), w.sender.texts)
				}
			})
		})
	}
}

func TestTaggedMessageTakesTheFirstOnesPlaceOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		an, failed := w.account("an@here.test"), 0
		w.nodes["a"].fault = func(c *storepb.Command) fault {
			if c.GetAddMessage() != nil && failed < 3 {
				failed++
				return unspoken
			}
			return none
		}
		w.start("a", judging(Verdict{Headers: []string{"X-Tag: yes\r\n"}}, nil))
		w.accept(mail{id: "q1", from: "binh@here.test", queued: one(store.QueueIn, "an@here.test", 0, 0)})
		w.pass(time.Minute)
		if box := w.inbox(an); len(box) != 1 || strings.Count(box[0], "X-Tag") != 1 || failed == 0 {
			t.Errorf("the mailbox has %q", box)
		}
	})
}

// Whom an administrator took out while a message was checked must not come back with what the checks added.
func TestRecipientTakenOutWhileJudgedStaysOut(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		an := w.account("an@here.test")
		w.start("a", func(c *Config) {
			c.Judge = verdicts{func() (Verdict, error) {
				elapse(10 * time.Second)
				return Verdict{Headers: []string{"X-Tag: yes\r\n"}}, nil
			}}
		})
		w.accept(mail{id: "q1", from: "binh@here.test", queued: append(one(store.QueueIn, "an@here.test", 0, 0), one(store.QueueIn, "x@far.test", 0, 0)...)})
		elapse(5 * time.Second)
		ref := refOf(w.entries()[1])
		w.do(&storepb.Command{Op: &storepb.Command_QueueAdmin{QueueAdmin: &storepb.QueueAdmin{Refs: []*storepb.QueueRef{ref}, Action: uint32(store.ActionDelete)}}})
		w.pass(time.Minute)
		if n := w.sender.copies("q1 x@far.test"); n != 0 || len(w.inbox(an)) != 1 {
			t.Errorf("who was taken out got %d, and the other one %d", n, len(w.inbox(an)))
		}
	})
}

func TestHoldWinsOverTheChecksUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		an := w.account("an@here.test")
		w.start("a", func(c *Config) {
			c.Judge = verdicts{func() (Verdict, error) { elapse(10 * time.Second); return Verdict{}, nil }}
		})
		w.accept(mail{id: "q1", from: "binh@here.test", queued: one(store.QueueIn, "an@here.test", 0, 0)})
		elapse(5 * time.Second)
		w.act(store.ActionHold)
		w.pass(time.Hour)
		if len(w.inbox(an)) != 0 || len(w.entries()) != 1 {
			t.Errorf("held mail was delivered; there waits %v", w.entries())
		}
		w.act(store.ActionRelease)
		elapse(time.Second)
		if len(w.inbox(an)) != 1 {
			t.Error("released mail was not delivered, or was checked again")
		}
	})
}

func TestMailForAnAliasIsRoutedToAllBehindIt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		an, binh := w.account("an@here.test"), w.account("binh@here.test")
		w.change(&storepb.Account{Id: binh, QuotaBytes: 10})
		w.do(&storepb.Command{Op: &storepb.Command_PutAlias{PutAlias: &storepb.PutAlias{Create: true, Alias: &storepb.Alias{Address: "all@here.test", Targets: []string{"an@here.test", "binh@here.test", "x@far.test"}}}}})
		w.start("a", nil)
		w.accept(mail{id: "q1", from: "chi@far.test", queued: one(store.QueueIn, "all@here.test", 0, 0)})
		w.accept(mail{id: "q2", from: "an@here.test", queued: one(store.QueueIn, "nobody@here.test", 0, 0)})
		w.pass(5 * time.Second)
		if len(w.inbox(an)) != 2 || w.sender.copies("q1 x@far.test") != 1 || count(w.inbox(an), "5.1.1") != 1 {
			t.Errorf("an has %q, elsewhere are %d", w.inbox(an), w.sender.copies("q1 x@far.test"))
		}
		if left := w.entries(); len(left) != 1 || store.Queue(left[0].Queue) != store.QueueLocal || left[0].Account != binh {
			t.Errorf("for the full mailbox there waits %v", left)
		}
	})
}

func TestFieldsComeBehindReturnPath(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"with":    {"Return-Path: <a@b.c>\r\nSubject: x\r\n\r\n", "Return-Path: <a@b.c>\r\nX: 1\r\nSubject: x\r\n\r\n"},
		"without": {"Subject: x\r\n\r\nbody", "X: 1\r\nSubject: x\r\n\r\nbody"},
		"empty":   {"", "X: 1\r\n"},
		"no end":  {"Subject", "X: 1\r\nSubject"},
		"long":    {strings.Repeat("a", 5000) + "\r\n", "X: 1\r\n" + strings.Repeat("a", 5000) + "\r\n"},
	} {
		var out strings.Builder
		if err := withHeaders(&out, io.MultiReader(strings.NewReader(c.in)), []string{"X: 1\r\n"}); err != nil || out.String() != c.want {
			t.Errorf("%s: %q, %v; want %q", name, out.String(), err, c.want)
		}
	}
}
