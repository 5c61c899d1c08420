package state

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// as proposes for a server.
func as(server string, c *storepb.Command) *storepb.Command {
	c.Server = server
	return c
}

func remoteTo(addresses ...string) []*storepb.QueueEntry {
	var out []*storepb.QueueEntry
	for _, a := range addresses {
		out = append(out, &storepb.QueueEntry{Queue: uint32(store.QueueRemote), Address: a})
	}
	return out
}

// send puts a message into the queues, for server 1.
func (b *bench) send(queueID string, queued []*storepb.QueueEntry, accounts ...uint64) *storepb.Result {
	b.t.Helper()
	c := add(b.body("to be queued "+queueID), accounts...)
	m := c.GetAddMessage()
	m.Queued, m.QueueId, m.EnvelopeFrom = queued, queueID, "an@example.test"
	m.Origin = &storepb.Origin{MessageId: "<" + queueID + "@example.test>", Recipients: []string{"somebody@elsewhere.test"}}
	return b.do(as("1", c))
}

func attempt(refs ...*storepb.QueueRef) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_QueueAttempt{QueueAttempt: &storepb.QueueAttempt{Refs: refs}}}
}

func outcome(o ...*storepb.QueueOutcome) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_QueueOutcomes{QueueOutcomes: &storepb.QueueOutcomes{Outcomes: o}}}
}

func handOver(from string, to ...string) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_QueueHandOver{QueueHandOver: &storepb.QueueHandOver{From: from, To: to, Limit: 100}}}
}

func ref(message uint64, number uint32, epoch uint64) *storepb.QueueRef {
	return &storepb.QueueRef{Message: message, Number: number, Epoch: epoch}
}

func (b *bench) entry(message uint64, number uint32) *storepb.QueueEntry {
	b.t.Helper()
	v := b.View()
	defer v.Close()
	e, err := v.QueueEntry(message, number)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return e
}

func (b *bench) codes(c *storepb.Command, want ...error) {
	b.t.Helper()
	res := b.do(c)
	if len(res.Codes) != len(want) {
		b.t.Fatalf("codes are %v, want %v", res.Codes, want)
	}
	for i, code := range res.Codes {
		if got := CodeError(code); !errors.Is(got, want[i]) {
			b.t.Errorf("entry %d is answered %v, want %v", i, got, want[i])
		}
	}
}

// kinds are those of a message's trace, in order.
func (b *bench) kinds(queueID string) (kinds []string) {
	b.t.Helper()
	v := b.View()
	defer v.Close()
	if err := v.TraceOf(queueID, func(e *storepb.TraceEvent) bool { kinds = append(kinds, e.Kind); return true }); err != nil {
		b.t.Fatal(err)
	}
	return kinds
}

func (b *bench) queue() *storepb.QueueCounts {
	b.t.Helper()
	v := b.View()
	defer v.Close()
	cr, err := v.Cluster()
	if err != nil {
		b.t.Fatal(err)
	}
	return cr.Queue
}

func TestDeliveredEntryEndsAndFreesItsMessage(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	b.send("q1", remoteTo("a@elsewhere.test", "b@elsewhere.test"), an)
	if mb := b.inbox(an); mb.Messages != 1 {
		t.Fatalf("the local recipient has %d messages, want 1 in the same step", mb.Messages)
	}
	b.codes(as("1", attempt(ref(1, 1, 1), ref(1, 2, 1))), nil, nil)
	b.codes(as("1", outcome(&storepb.QueueOutcome{Ref: ref(1, 1, 1), Result: uint32(store.AttemptDelivered), Code: 250})), nil)
	if e := b.entry(1, 1); e != nil {
		t.Errorf("a delivered entry is still there: %v", e)
	}
	if q := b.queue(); q.Remote != 1 {
		t.Errorf("the remote queue counts %d, want 1", q.Remote)
	}
	b.codes(as("1", outcome(&storepb.QueueOutcome{Ref: ref(1, 2, 1), Result: uint32(store.AttemptDelivered), Code: 250})), nil)
	v := b.View()
	defer v.Close()
	if _, err := v.QueueMessage(1); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the message still waits (%v)", err)
	}
	if ids, err := v.QueuedUnder("q1"); err != nil || len(ids) != 0 {
		t.Errorf("the queue id still leads to %v (%v)", ids, err)
	}
	if got := b.kinds("q1"); !slices.Equal(got, []string{"accepted", "delivered", "delivered"}) {
		t.Errorf("the trace tells %v", got)
	}
}

func TestAttemptIsTheOwnersAndOneAtATime(t *testing.T) {
	b := newBench(t, "")
	b.send("q1", remoteTo("a@elsewhere.test"))
	b.codes(as("2", attempt(ref(1, 1, 1))), store.ErrConflict)
	b.codes(as("1", attempt(ref(1, 1, 2))), store.ErrConflict)
	b.codes(as("1", attempt(ref(9, 1, 1))), store.ErrNotFound)
	b.codes(as("1", attempt(ref(1, 1, 1))), nil)
	b.codes(as("1", attempt(ref(1, 1, 1))), store.ErrConflict)
}

func TestHandOverFencesTheFormerOwner(t *testing.T) {
	b := newBench(t, "")
	b.send("q1", remoteTo("a@elsewhere.test", "b@elsewhere.test", "c@elsewhere.test"))
	b.codes(as("1", attempt(ref(1, 1, 1), ref(1, 2, 1))), nil, nil)
	if res := b.do(as("2", handOver("1", "2", "3"))); res.Count != 3 {
		t.Fatalf("%d entries moved, want 3", res.Count)
	}
	for n := uint32(1); n <= 3; n++ {
		if e := b.entry(1, n); e.Owner == "1" || e.Epoch != 2 || e.Attempting {
			t.Errorf("after the hand-over entry %d is %v", n, e)
		}
	}
	// The former owner was only cut off. What failed there is no longer its affair; what was delivered is delivered.
	b.codes(as("1", outcome(
		&storepb.QueueOutcome{Ref: ref(1, 1, 1), Result: uint32(store.AttemptFailed), Code: 550, Notice: uint32(store.NoticeFailed)},
		&storepb.QueueOutcome{Ref: ref(1, 2, 1), Result: uint32(store.AttemptDelivered), Code: 250},
	)), store.ErrConflict, nil)
	if b.entry(1, 1) == nil || b.entry(1, 2) != nil {
		t.Errorf("entries: %v, %v; want the first only", b.entry(1, 1), b.entry(1, 2))
	}
}

func TestDeferredEntryWaitsInItsOwnersOrder(t *testing.T) {
	b := newBench(t, "")
	b.send("q1", remoteTo("a@elsewhere.test", "b@elsewhere.test"))
	b.codes(as("1", attempt(ref(1, 1, 1))), nil)
	later := int64(1_800_000_000_000)
	b.codes(as("1", outcome(&storepb.QueueOutcome{Ref: ref(1, 1, 1), Result: uint32(store.AttemptDeferred), Code: 451, Status: "4.3.0", Reason: "busy", DueUnixMs: later})), nil)
	v := b.View()
	defer v.Close()
	var due []DueEntry
	for _, until := range []int64{later - 1, later} {
		due = nil
		if err := v.Due("1", DueEntry{}, until, func(d DueEntry) bool { due = append(due, d); return true }); err != nil {
			t.Fatal(err)
		}
		if want := map[int64]int{later - 1: 1, later: 2}[until]; len(due) != want {
			t.Errorf("until %d %d entries are due, want %d: %v", until, len(due), want, due)
		}
	}
	if due[0].Number != 2 || due[1].Number != 1 {
		t.Errorf("the order is %v", due)
	}
	if e := b.entry(1, 1); e.Attempts != 1 || e.Reason != "busy" || e.Attempting {
		t.Errorf("the deferred entry is %v", e)
	}
}

func TestNoticeEndsWhatItIsAboutOnce(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	b.send("q1", remoteTo("a@elsewhere.test"))
	b.codes(as("1", attempt(ref(1, 1, 1))), nil)
	b.codes(as("1", outcome(&storepb.QueueOutcome{Ref: ref(1, 1, 1), Result: uint32(store.AttemptFailed), Code: 550, Status: "5.1.1", Notice: uint32(store.NoticeFailed)})), nil)
	if e := b.entry(1, 1); e == nil || store.Notice(e.Notice) != store.NoticeFailed {
		t.Fatalf("a failed entry must wait for its notice, and is %v", e)
	}
	b.codes(as("1", attempt(ref(1, 1, 1))), store.ErrConflict)
	notice := func() *storepb.Command {
		c := add(b.body("returned"), an)
		c.GetAddMessage().Ends = []*storepb.QueueEnd{{Ref: ref(1, 1, 1)}}
		return as("1", c)
	}
	b.do(notice())
	if b.entry(1, 1) != nil {
		t.Error("the entry outlives its notice")
	}
	if _, err := b.try(notice()); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a second notice is answered %v", err)
	}
	if mb := b.inbox(an); mb.Messages != 1 {
		t.Errorf("the sender has %d notices, want 1", mb.Messages)
	}
}

func TestRefusedNoticeChangesNothing(t *testing.T) {
	b := newBench(t, "")
	b.send("q1", remoteTo("a@elsewhere.test"))
	b.codes(as("1", outcome(&storepb.QueueOutcome{Ref: ref(1, 1, 1), Result: uint32(store.AttemptFailed), Notice: uint32(store.NoticeFailed)})), nil)
	c := add(b.body("returned"), 4711) // no such account
	c.GetAddMessage().Ends = []*storepb.QueueEnd{{Ref: ref(1, 1, 1)}}
	if _, err := b.try(as("1", c)); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a notice for nobody is answered %v", err)
	}
	if b.entry(1, 1) == nil {
		t.Error("the entry ended although its sender was not told")
	}
}

func TestDelayIsToldOnce(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	b.send("q1", remoteTo("a@elsewhere.test"))
	deferred := func() *storepb.QueueOutcome {
		return &storepb.QueueOutcome{Ref: ref(1, 1, 1), Result: uint32(store.AttemptDeferred), Notice: uint32(store.NoticeDelayed), DueUnixMs: 1_900_000_000_000}
	}
	b.codes(as("1", outcome(deferred())), nil)
	c := add(b.body("delayed"), an)
	c.GetAddMessage().Ends = []*storepb.QueueEnd{{Ref: ref(1, 1, 1), Warned: true}}
	b.do(as("1", c))
	if e := b.entry(1, 1); e == nil || !e.Warned || e.Notice != 0 {
		t.Fatalf("after the warning the entry is %v", e)
	}
	b.codes(as("1", outcome(deferred())), nil)
	if e := b.entry(1, 1); e.Notice != 0 {
		t.Errorf("the sender is to be warned again: %v", e)
	}
}

func TestMessageSentAgainIsDeliveredOnce(t *testing.T) {
	b := newBench(t, "")
	an, binh := b.account("an@example.test"), b.account("binh@example.test")
	again := func(queueID string, queued []*storepb.QueueEntry, accounts ...uint64) *storepb.Result {
		c := add(b.body("the same"), accounts...)
		m := c.GetAddMessage()
		m.QueueId, m.ResendKey, m.Queued, m.Origin = queueID, bytes.Repeat([]byte{5}, store.ResendKeyBytes), queued, &storepb.Origin{}
		return b.do(as("1", c))
	}
	if res := again("q1", remoteTo("a@elsewhere.test"), an); res.QueueId != "" {
		t.Errorf("the first time is answered as the second of %q", res.QueueId)
	}
	if res := again("q2", remoteTo("a@elsewhere.test"), an); res.QueueId != "q1" || len(res.Placed) != 1 || res.Placed[0].Code != 0 {
		t.Errorf("the second time is answered %v", res)
	}
	res := again("q3", remoteTo("a@elsewhere.test", "b@elsewhere.test"), an, binh)
	if res.QueueId != "q1" || len(res.Placed) != 2 {
		t.Errorf("the third time, with further recipients, is answered %v", res)
	}
	if got := b.kinds("q3"); !slices.Equal(got, []string{"resent"}) {
		t.Errorf("the id that the third copy bears leads to %v", got)
	}
	if a, bb, q := b.inbox(an).Messages, b.inbox(binh).Messages, b.queue().Remote; a != 1 || bb != 1 || q != 2 {
		t.Errorf("an has %d, binh %d, the queue %d; want 1, 1, 2", a, bb, q)
	}
	// In the next hour but one it is another message.
	b.do(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: hourMs}}})
	if res := again("q4", nil, an); res.QueueId != "" || b.inbox(an).Messages != 2 {
		t.Errorf("after an hour the message is still known: %v, %d messages", res, b.inbox(an).Messages)
	}
	b.do(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: 3 * hourMs}}})
	v := b.View()
	defer v.Close()
	if keys, err := keysOf(v, key(tabResend), after(key(tabResend)), 10); err != nil || len(keys) != 0 {
		t.Errorf("%d messages are remembered hours later (%v)", len(keys), err)
	}
}

// A first try may wait for its checks while the second is judged at once, or the other way round; what a name leads to may change in between.
func TestMessageSentAgainIsKnownByWhomTheClientNamed(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	send := func(key byte, queued []*storepb.QueueEntry, accounts ...uint64) {
		c := add(b.body("the same"), accounts...)
		m := c.GetAddMessage()
		for _, x := range m.Targets {
			x.Recipient = "info@example.test"
		}
		m.QueueId, m.ResendKey, m.Queued, m.Origin = "q", bytes.Repeat([]byte{key}, store.ResendKeyBytes), queued, &storepb.Origin{}
		b.do(as("1", c))
	}
	in := func() []*storepb.QueueEntry {
		return []*storepb.QueueEntry{{Queue: uint32(store.QueueIn), Address: "info@example.test"}}
	}
	suspended := func() []*storepb.QueueEntry {
		return []*storepb.QueueEntry{{Queue: uint32(store.QueueLocal), Address: "an@example.test", Account: an, Original: "info@example.test"}}
	}
	for key, tries := range [][2]func(){
		{func() { send(0, in()) }, func() { send(0, nil, an) }},
		{func() { send(1, nil, an) }, func() { send(1, in()) }},
		{func() { send(2, nil, an) }, func() { send(2, suspended()) }},
		{func() { send(3, suspended()) }, func() { send(3, nil, an) }},
	} {
		before := uint64(b.inbox(an).Messages) + b.queue().GetIn() + b.queue().GetLocal()
		tries[0]()
		tries[1]()
		if now := uint64(b.inbox(an).Messages) + b.queue().GetIn() + b.queue().GetLocal(); now != before+1 {
			t.Errorf("case %d: %d copies came of two tries, want 1", key, now-before)
		}
	}
}

func TestNodeThatRunsKeepsWhatItHasUnderWay(t *testing.T) {
	b := newBench(t, "")
	b.send("q1", remoteTo("a@elsewhere.test", "b@elsewhere.test"))
	b.codes(as("1", attempt(ref(1, 1, 1))), nil)
	c := handOver("1", "2")
	c.GetQueueHandOver().Idle = true
	if res := b.do(as("2", c)); res.Count != 1 || b.entry(1, 1).Owner != "1" || b.entry(1, 2).Owner != "2" {
		t.Errorf("%d entries moved: %v, %v", res.Count, b.entry(1, 1), b.entry(1, 2))
	}
}

func TestTracesAreFoundAndForgotten(t *testing.T) {
	b := newBench(t, "")
	b.send("q1", remoteTo("An@Elsewhere.test"))
	find := func(what string) []string {
		v := b.View()
		defer v.Close()
		ids, err := v.TracesAbout(what, 10)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	for _, what := range []string{"q1@example.test", "<Q1@example.test>", "an@elsewhere.test", "an@example.test"} {
		if got := find(what); !slices.Equal(got, []string{"q1"}) {
			t.Errorf("%s leads to %v", what, got)
		}
	}
	b.do(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: dayMs}}})
	if len(b.kinds("q1")) == 0 {
		t.Error("the trace is gone after a day")
	}
	for range 14 {
		b.do(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: dayMs}}})
	}
	if len(b.kinds("q1")) != 0 || len(find("an@example.test")) != 0 {
		t.Error("the trace is there after 15 days")
	}
}

func TestRestoredClusterHoldsWhatWasForOthers(t *testing.T) {
	b := newBench(t, "")
	b.send("q1", remoteTo("a@elsewhere.test"))
	b.codes(as("1", attempt(ref(1, 1, 1))), nil)
	if err := b.BecomeNewCluster("new"); err != nil {
		t.Fatal(err)
	}
	if e := b.entry(1, 1); !e.Held || e.Attempting || e.Reason == "" {
		t.Errorf("after the restore the entry is %v", e)
	}
	b.found()
	b.do(as("2", &storepb.Command{Op: &storepb.Command_QueueAdmin{QueueAdmin: &storepb.QueueAdmin{Refs: []*storepb.QueueRef{ref(1, 1, 0)}, Action: uint32(store.ActionRelease)}}}))
	if e := b.entry(1, 1); e.Held || e.Owner != "2" {
		t.Errorf("after its release the entry is %v", e)
	}
}

// Whatever comes in whatever order, every invariant holds.
func TestQueueCommandsKeepTheInvariants(t *testing.T) {
	for seed := range uint64(20) {
		b := newBench(t, "") // Check runs at its end
		r := rand.New(rand.NewPCG(seed, 1))
		accounts := []uint64{b.account("an@example.test"), b.account("binh@example.test")}
		for range 300 {
			c := b.randomQueueCommand(r, accounts)
			res := b.apply(b.command(as([]string{"1", "2", "3"}[r.IntN(3)], c)))
			if res == nil {
				t.Fatalf("seed %d: no result for %v", seed, c)
			}
		}
		if err := b.Check(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func (b *bench) randomQueueCommand(r *rand.Rand, accounts []uint64) *storepb.Command {
	some := func() *storepb.QueueRef { return ref(1+r.Uint64N(20), 1+r.Uint32N(3), 1+r.Uint64N(3)) }
	if r.IntN(3) > 0 { // one that is there
		v := b.View()
		_ = v.QueueEntries(r.Uint64N(20), 0, func(e *storepb.QueueEntry) bool {
			found := ref(e.Message, e.Number, e.Epoch)
			some = func() *storepb.QueueRef { return found }
			return r.IntN(3) > 0
		})
		v.Close()
	}
	switch r.IntN(9) {
	case 0, 1:
		c := add(b.body("random"), accounts[r.IntN(2)])
		m := c.GetAddMessage()
		m.QueueId, m.Queued, m.Origin, m.EnvelopeFrom = "q", remoteTo("a@e.test", "b@e.test", "c@e.test")[:r.IntN(4)], &storepb.Origin{}, "an@example.test"
		for _, e := range m.Queued {
			e.Notify = r.Uint32N(16)
			if e.Queue = 1 + r.Uint32N(3); store.Queue(e.Queue) == store.QueueLocal {
				e.Account = accounts[r.IntN(2)]
			}
		}
		if r.IntN(2) == 0 {
			m.ResendKey = bytes.Repeat([]byte{byte(r.IntN(5))}, store.ResendKeyBytes)
		}
		if r.IntN(3) == 0 {
			m.Ends = []*storepb.QueueEnd{{Ref: some(), Warned: r.IntN(3) == 0}}
		}
		return c
	case 2, 3:
		return attempt(some(), some())
	case 4, 5:
		result := 1 + r.Uint32N(4)
		return outcome(&storepb.QueueOutcome{Ref: some(), Result: result, Notice: r.Uint32N(5), DueUnixMs: int64(r.Uint32())})
	case 6:
		return &storepb.Command{Op: &storepb.Command_QueueRoute{QueueRoute: &storepb.QueueRoute{Ref: some(), Hold: r.IntN(3) == 0, Entries: remoteTo("r@e.test"),
			Targets: []*storepb.Target{{Account: accounts[0]}}}}}
	case 7:
		if r.IntN(2) == 0 {
			return handOver([]string{"1", "2"}[r.IntN(2)], "3")
		}
		return &storepb.Command{Op: &storepb.Command_QueuePlace{QueuePlace: &storepb.QueuePlace{Refs: []*storepb.QueueRef{some()}}}}
	}
	return &storepb.Command{Op: &storepb.Command_QueueAdmin{QueueAdmin: &storepb.QueueAdmin{Refs: []*storepb.QueueRef{some()}, Action: 1 + r.Uint32N(5)}}}
}

func TestUpgradingClusterTakesPlainMessagesOnly(t *testing.T) {
	m := &storepb.AddMessage{Targets: []*storepb.Target{{Account: 1}}, Origin: &storepb.Origin{}, ResendKey: []byte("x")}
	c := &storepb.Command{Op: &storepb.Command_AddMessage{AddMessage: m}}
	plain, ok := Plain(m)
	if Needs(c) != 2 || !ok || Needs(&storepb.Command{Op: &storepb.Command_AddMessage{AddMessage: plain}}) != 1 || !proto.Equal(plain.Targets[0], m.Targets[0]) {
		t.Errorf("a local message needs version %d, and becomes %v, %v", Needs(c), plain, ok)
	}
	m.Queued = remoteTo("a@e.test")
	if _, ok := Plain(m); ok {
		t.Error("a message that waits cannot be said in version 1")
	}
}
