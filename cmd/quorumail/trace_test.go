package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// story is a message for a mailbox here and for two elsewhere: one put off and delivered then, one refused.
func story(t *testing.T) *officeLine {
	c := newOfficeLine(t)
	an := c.account("an@example.test")
	c.send(queued{id: "q1", from: "binh@example.test", to: remoteEntry("a@far.test", "b@far.test"), accounts: []uint64{an}, origin: &storepb.Origin{Listener: "submission", Client: "198.51.100.4",
		Helo: "laptop", Tls: "TLS 1.3", Account: an, AccountAddress: "an@example.test", MessageId: "<one@example.test>", Recipients: []string{"an@example.test", "a@far.test", "b@far.test"},
		Checks: "tagged by rule r1"}})
	c.now = c.now.Add(time.Second)
	c.attempt(1, 1, &storepb.QueueOutcome{Result: uint32(store.AttemptDeferred), Code: 451, Reason: "later", Peer: "mx.far.test", DueUnixMs: c.now.UnixMilli()})
	c.now = c.now.Add(time.Minute)
	c.attempt(1, 1, &storepb.QueueOutcome{Result: uint32(store.AttemptDelivered), Code: 250, Reason: "ok", Peer: "mx.far.test", Tls: "TLS 1.2"})
	c.attempt(1, 2, &storepb.QueueOutcome{Result: uint32(store.AttemptFailed), Code: 550, Reason: "no such user", Peer: "mx.far.test", Notice: uint32(store.NoticeFailed)})
	return c
}

func traceIDsOf(list []admin.Trace) (ids []string) {
	for _, t := range list {
		ids = append(ids, t.QueueID)
	}
	return ids
}

func TestTraceIsFoundByWhatPeopleKnow(t *testing.T) {
	c := story(t)
	c.now = c.now.Add(time.Minute)
	c.send(queued{id: "q2", from: "c@far.test", to: remoteEntry("a@far.test")})
	for what, want := range map[string][]string{
		"q1": {"q1"}, "<one@example.test>": {"q1"}, "one@example.test": {"q1"}, "AN@example.test": {"q1"}, "binh@example.test": {"q1"}, "b@far.test": {"q1"},
		"a@far.test": {"q1", "q2"}, "c@far.test": {"q2"},
	} {
		if got := traceIDsOf(as[[]admin.Trace](t, c.good("", "trace", what, "--json"))); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	if got := traceIDsOf(as[[]admin.Trace](t, c.good("", "trace", "a@far.test", "--limit", "1", "--json"))); !slices.Equal(got, []string{"q2"}) {
		t.Errorf("the newest one: %v", got)
	}
	got := as[[]admin.Trace](t, c.good("", "trace", "q1", "--last", "1", "--json"))
	if len(got) != 1 || len(got[0].Events) != 1 || got[0].Events[0].Kind != "failed" || got[0].Omitted != 3 {
		t.Errorf("the last event: %+v", got)
	}
	c.bad(exitFailed, "trace.keep_days", "", "trace", "nobody@example.test")
	c.bad(exitUsage, "--limit", "", "trace", "q1", "--limit", "0")
}

func TestTraceTellsTheStory(t *testing.T) {
	c := story(t)
	list, err := c.office.trace(t.Context(), admin.TraceRequest{What: "q1"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := printTable(&out, storyRows(list[0], time.UTC)); err != nil {
		t.Fatal(err)
	}
	want := `2026-11-30 12:00:00.000  n1  accepted   from <binh@example.test>, 18 B, Message-ID <one@example.test>
                                        by submission, from 198.51.100.4 (laptop), submitted by an@example.test, TLS 1.3
                                        for an@example.test, a@far.test, b@far.test
                                        checks: tagged by rule r1
                                        into INBOX of an@example.test, UID 1
                                        waits for a@far.test in the queue "remote"
                                        waits for b@far.test in the queue "remote"
2026-11-30 12:00:01.000  n1  deferred   a@far.test, attempt 1: mx.far.test said: 451 later
2026-11-30 12:01:01.000  n1  delivered  a@far.test, attempt 2: mx.far.test said: 250 ok (TLS 1.2)
2026-11-30 12:01:01.000  n1  failed     b@far.test, attempt 1: mx.far.test said: 550 no such user
`
	if got := out.String(); got != want {
		t.Errorf("the story is\n%s\nwant\n%s", got, want)
	}
}

func TestTraceNamesTheNoticeAndTheAdministrator(t *testing.T) {
	lines := map[string]admin.TraceEvent{
		"b@far.test: the sender was told in message q7":      {Kind: "noticed", Address: "b@far.test", Related: "q7"},
		"b@far.test: root: is it spam?":                      {Kind: "held", Address: "b@far.test", Text: "root: is it spam?"},
		"sent again, and known: nothing was done":            {Kind: "resent", Text: "sent again, and known: nothing was done"},
		"b@far.test, attempt 3: at mx.far.test: no greeting": {Kind: "deferred", Address: "b@far.test", Attempt: 3, Peer: "mx.far.test", Text: "no greeting"},
	}
	for want, e := range lines {
		if got := strings.Join(storyLines(e), "|"); got != want {
			t.Errorf("%+v is told as %q, want %q", e, got, want)
		}
	}
}

func TestStoryIsHarmlessOnATerminal(t *testing.T) {
	rows := storyRows(admin.Trace{Events: []admin.TraceEvent{{Kind: "deferred", Address: "a@b.test", Text: "\x1b]0;x\a\r\nyes"}}}, time.UTC)
	if text := rows[0][3]; strings.ContainsAny(text, "\x1b\a\r\n") {
		t.Errorf("it would be obeyed: %q", text)
	}
}
