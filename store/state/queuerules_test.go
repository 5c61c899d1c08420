package state

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func waitingIn(q store.Queue, address string, account uint64) []*storepb.QueueEntry {
	return []*storepb.QueueEntry{{Queue: uint32(q), Address: address, Account: account}}
}

func admin(action store.QueueAction, refs ...*storepb.QueueRef) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_QueueAdmin{QueueAdmin: &storepb.QueueAdmin{Refs: refs, Action: uint32(action)}}}
}

func TestOrderOfWorkSaysWhoseEachEntryIs(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	b.send("q1", remoteTo("a@elsewhere.test"))
	b.send("q2", waitingIn(store.QueueLocal, "an@example.test", an))
	v := b.View()
	defer v.Close()
	var got []store.Queue
	if err := v.Due("1", DueEntry{}, 1<<62, func(d DueEntry) bool {
		if d.Sender != SenderHash("an@example.test") {
			t.Errorf("the sender is said to be %x", d.Sender)
		}
		got = append(got, d.Queue)
		return true
	}); err != nil || len(got) != 2 || got[0] != store.QueueRemote || got[1] != store.QueueLocal {
		t.Errorf("the queues are %v (%v)", got, err)
	}
	if SenderHash("an@example.test") == SenderHash("") {
		t.Error("two senders look the same")
	}
}

func TestHeldMessageIsNotRouted(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	b.send("q1", waitingIn(store.QueueIn, "an@example.test", 0))
	b.codes(as("1", admin(store.ActionHold, ref(1, 1, 0))), nil)
	_, err := b.try(as("1", &storepb.Command{Op: &storepb.Command_QueueRoute{QueueRoute: &storepb.QueueRoute{Ref: ref(1, 1, 1), Targets: []*storepb.Target{{Account: an}}}}}))
	if !errors.Is(err, store.ErrConflict) || b.inbox(an).Messages != 0 {
		t.Errorf("the routing of a held message is answered %v", err)
	}
}

func TestMessageTakesAnothersPlaceAsAWhole(t *testing.T) {
	b := newBench(t, "")
	q := append(waitingIn(store.QueueIn, "x@example.test", 0), waitingIn(store.QueueIn, "y@example.test", 0)...)
	b.send("q1", q)
	old := b.entry(1, 1)
	b.do(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: hourMs}}})
	rewrite := func() (*storepb.Result, error) {
		c := add(b.body("with what the checks added"))
		m := c.GetAddMessage()
		m.QueueId, m.Queued, m.Origin = "q1", q, &storepb.Origin{}
		m.Ends = []*storepb.QueueEnd{{Ref: ref(1, 1, 1), Moved: true}, {Ref: ref(1, 2, 1), Moved: true}}
		return b.try(as("1", c))
	}
	b.codes(as("1", admin(store.ActionHold, ref(1, 2, 0))), nil)
	if _, err := rewrite(); !errors.Is(err, store.ErrConflict) || b.queue().In != 2 {
		t.Fatalf("with a recipient who may not move it is answered %v, and %d wait", err, b.queue().In)
	}
	b.codes(as("1", admin(store.ActionRelease, ref(1, 2, 0))), nil)
	if _, err := rewrite(); err != nil {
		t.Fatal(err)
	}
	if e := b.entry(2, 2); b.entry(1, 1) != nil || e == nil || e.SinceTick != old.SinceTick || e.SinceUnixMs != old.SinceUnixMs {
		t.Errorf("in its place there waits %v, since the moment of %v", e, old)
	}
	for _, kind := range b.kinds("q1") {
		if kind == "noticed" {
			t.Error("the trace tells of a notice that there was not")
		}
	}
}

func TestTriesAtAMailboxCountAndAreToldOnce(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	b.send("q1", waitingIn(store.QueueLocal, "an@example.test", an))
	for range 10 {
		b.codes(as("1", outcome(&storepb.QueueOutcome{Ref: ref(1, 1, 1), Result: uint32(store.AttemptDeferred), Reason: "full"})), nil)
	}
	if e := b.entry(1, 1); e.Attempts != 10 {
		t.Errorf("10 tries count as %d", e.Attempts)
	}
	if got := strings.Join(b.kinds("q1"), " "); got != "accepted deferred" {
		t.Errorf("the trace tells %s", got)
	}
	b.codes(as("1", outcome(&storepb.QueueOutcome{Ref: ref(1, 1, 1), Result: uint32(store.AttemptDeferred), Reason: "suspended"})), nil)
	if got := strings.Join(b.kinds("q1"), " "); got != "accepted deferred deferred" {
		t.Errorf("with another reason the trace tells %s", got)
	}
}

func TestNoticeCanBePutOffButNotUndone(t *testing.T) {
	b := newBench(t, "")
	b.send("q1", remoteTo("a@elsewhere.test"))
	b.codes(as("1", outcome(&storepb.QueueOutcome{Ref: ref(1, 1, 1), Result: uint32(store.AttemptFailed), Reason: "no such user", Notice: uint32(store.NoticeFailed)})), nil)
	later := int64(1_800_000_000_000)
	b.codes(as("1", outcome(&storepb.QueueOutcome{Ref: ref(1, 1, 1), Result: uint32(store.AttemptDeferred), Reason: "x", DueUnixMs: later})), nil)
	if e := b.entry(1, 1); e.DueUnixMs != later || e.Reason != "no such user" || store.Notice(e.Notice) != store.NoticeFailed {
		t.Errorf("the notice that was put off is %v", e)
	}
	b.codes(as("1", outcome(&storepb.QueueOutcome{Ref: ref(1, 1, 1), Result: uint32(store.AttemptDiscarded)})), store.ErrConflict)
}

func TestBounceRespectsWhoWantsNoNotice(t *testing.T) {
	for notify, kept := range map[store.Notify]bool{0: true, store.NotifyNever: false, store.NotifyFailure: true, store.NotifySuccess: false} {
		b := newBench(t, "")
		q := remoteTo("a@elsewhere.test")
		q[0].Notify = uint32(notify)
		b.send("q1", q)
		b.codes(as("1", admin(store.ActionBounce, ref(1, 1, 0))), nil)
		if e := b.entry(1, 1); (e != nil) != kept {
			t.Errorf("NOTIFY %d: after a bounce there waits %v", notify, e)
		}
	}
}

func TestSuccessOfARoutedMessageIsToBeTold(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	q := waitingIn(store.QueueIn, "an@example.test", 0)
	q[0].Notify = uint32(store.NotifySuccess)
	b.send("q1", q)
	b.do(as("1", &storepb.Command{Op: &storepb.Command_QueueRoute{QueueRoute: &storepb.QueueRoute{Ref: ref(1, 1, 1), Targets: []*storepb.Target{{Account: an}}}}}))
	if e := b.entry(1, 1); e == nil || store.Notice(e.Notice) != store.NoticeDelivered || b.inbox(an).Messages != 1 {
		t.Errorf("after the delivery there waits %v", e)
	}
}

func TestWaitingMessageNeedsAServerAndAProperName(t *testing.T) {
	b := newBench(t, "")
	for name, spoil := range map[string]func(*storepb.Command){
		"no server":  func(c *storepb.Command) { c.Server = "" },
		"a zero":     func(c *storepb.Command) { c.GetAddMessage().QueueId = "a\x00b" },
		"no address": func(c *storepb.Command) { c.GetAddMessage().Queued[0].Address = "" },
		"no queue":   func(c *storepb.Command) { c.GetAddMessage().Queued[0].Queue = 4 },
	} {
		c := as("1", add(b.body("x")))
		c.GetAddMessage().Queued = remoteTo("a@elsewhere.test")
		spoil(c)
		if _, err := b.try(c); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckFindsWrongPlacesOfWork(t *testing.T) {
	for name, spoil := range map[string]func(b *batch, e *storepb.QueueEntry) error{
		"another's note": func(b *batch, e *storepb.QueueEntry) error {
			return b.Set(placeOf(e), noteOf(&storepb.QueueMessage{}, e))
		},
		"no place": func(b *batch, e *storepb.QueueEntry) error { return b.Delete(placeOf(e)) },
		"a place too many": func(b *batch, e *storepb.QueueEntry) error {
			return b.Set(key(tabDue, "2", []byte{0}, uint64(5), e.Message, e.Number), nil)
		},
		"a local attempt": func(b *batch, e *storepb.QueueEntry) error {
			bad := proto.CloneOf(e)
			bad.Queue, bad.Account, bad.Attempting = uint32(store.QueueLocal), 1, true
			return b.save(entryOf(e.Message, e.Number), bad)
		},
		"a number too high": func(b *batch, e *storepb.QueueEntry) error {
			m := &storepb.QueueMessage{}
			if err := must(b, key(tabQueued, e.Message), m); err != nil {
				return err
			}
			m.LastNumber = 0
			return b.save(key(tabQueued, e.Message), m)
		},
	} {
		b := newBench(t, "")
		b.send("q1", remoteTo("a@elsewhere.test"))
		e := b.entry(1, 1)
		whole := b.db.NewBatch()
		x := &batch{Batch: whole, m: b.Machine}
		if err := spoil(x, e); err != nil {
			t.Fatal(err)
		}
		if err := whole.Commit(false); err != nil {
			t.Fatal(err)
		}
		if err := b.Check(); err == nil {
			t.Errorf("%s: Check finds nothing", name)
		}
		whole = b.db.NewBatch() // as it was, for the check at the end
		x = &batch{Batch: whole, m: b.Machine}
		m := &storepb.QueueMessage{}
		if err := must(x, key(tabQueued, e.Message), m); err != nil {
			t.Fatal(err)
		}
		m.LastNumber = 1
		for _, err := range []error{x.save(key(tabQueued, m.Id), m), x.save(entryOf(e.Message, e.Number), e), x.Set(placeOf(e), noteOf(m, e)),
			x.Delete(key(tabDue, "2", []byte{0}, uint64(5), e.Message, e.Number)), whole.Commit(false)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
