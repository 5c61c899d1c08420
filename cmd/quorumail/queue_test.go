package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// fourEntries is a state with three messages that wait: two of n1's, one of n2's.
func fourEntries(t *testing.T) *officeLine {
	c := newOfficeLine(t)
	c.send(queued{id: "q1", from: "an@example.test", to: remoteEntry("a@far.test", "b@far.test")})
	c.attempt(1, 1, &storepb.QueueOutcome{Result: uint32(store.AttemptDeferred), Code: 451, Status: "4.7.1", Reason: "Từ chối tạm thời", Peer: "mx.far.test", DueUnixMs: c.now.Add(time.Hour).UnixMilli()})
	c.now = c.now.Add(30 * time.Minute)
	c.send(queued{id: "q2", from: "", server: serverB, to: remoteEntry("a@wide.test")})
	c.send(queued{id: "q3", from: "bulk@example.test", to: []*storepb.QueueEntry{{Queue: uint32(store.QueueIn), Address: "c@far.test", Held: true, Reason: "a rule"}}})
	c.now = c.now.Add(30 * time.Minute)
	return c
}

func recipients(list []admin.QueueEntry) (out []string) {
	for _, e := range list {
		out = append(out, e.QueueID+" "+e.Recipient)
	}
	return out
}

// queueJSON is what "queue list --json" prints.
type queueJSON struct {
	Queues  admin.QueueCounts  `json:"queues"`
	Entries []admin.QueueEntry `json:"entries"`
	More    bool               `json:"more"`
}

func TestQueueListChoosesEntries(t *testing.T) {
	c := fourEntries(t)
	for _, tt := range []struct {
		flags string
		want  string
	}{
		{"", "q1 a@far.test,q1 b@far.test,q2 a@wide.test,q3 c@far.test"},
		{"--queue in", "q3 c@far.test"},
		{"--queue local", ""},
		{"--sender AN@example.test", "q1 a@far.test,q1 b@far.test"},
		{"--sender *@example.test", "q1 a@far.test,q1 b@far.test,q3 c@far.test"},
		{"--sender <>", "q2 a@wide.test"},
		{"--recipient a@*", "q1 a@far.test,q2 a@wide.test"},
		{"--domain FAR.test --queue remote", "q1 a@far.test,q1 b@far.test"},
		{"--older-than 45m", "q1 a@far.test,q1 b@far.test"},
		{"--older-than 1d", ""},
		{"--reason tu_choi", "q1 a@far.test"}, // without its marks; _ is a space here
		{"--held", "q3 c@far.test"},
		{"--owner n2", "q2 a@wide.test"},
		{"--owner " + serverA + " --queue remote", "q1 a@far.test,q1 b@far.test"},
		{"q1 q3", "q1 a@far.test,q1 b@far.test,q3 c@far.test"},
		{"q3 --domain wide.test", ""},
		{"none", ""},
	} {
		args := []string{"queue", "list", "--json"}
		for _, f := range strings.Fields(tt.flags) {
			args = append(args, strings.ReplaceAll(f, "_", " "))
		}
		got := as[queueJSON](t, c.good("", args...))
		if list := strings.Join(recipients(got.Entries), ","); list != tt.want || got.More {
			t.Errorf("%s: %s, want %s", tt.flags, list, tt.want)
		}
		if got.Queues != (admin.QueueCounts{In: 1, Remote: 3, Held: 1}) {
			t.Errorf("%s: the queues count %+v", tt.flags, got.Queues)
		}
	}
	c.bad(exitFailed, "choose in, local or remote", "", "queue", "list", "--queue", "out")
	c.bad(exitFailed, "quorumail status", "", "queue", "list", "--owner", "n9")
	c.bad(exitFailed, "*@example.org", "", "queue", "list", "--sender", "example")
	c.bad(exitUsage, "write 90s, 30m, 1h or 2d", "", "queue", "list", "--older-than", "long")
}

func TestQueueListIsCutAtItsLimitAndGoesOn(t *testing.T) {
	c := fourEntries(t)
	got := as[queueJSON](t, c.good("", "queue", "list", "--json", "--limit", "1"))
	if len(got.Entries) != 1 || !got.More {
		t.Errorf("with a limit of 1: %+v", got)
	}
	// The pieces that the node hands out, one entry each, are the whole list together, each entry once.
	var all []string
	for from := (admin.QueuePlace{}); ; {
		piece, err := c.office.listQueue(t.Context(), admin.QueueListRequest{From: from, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, recipients(piece.Entries)...)
		if piece.Next == nil {
			break
		}
		from = *piece.Next
	}
	if want := []string{"q1 a@far.test", "q1 b@far.test", "q2 a@wide.test", "q3 c@far.test"}; !slices.Equal(all, want) {
		t.Errorf("in pieces: %v, want %v", all, want)
	}
}

// What one request looks at is bounded, whatever the filter finds: the place where it ended is where the next one begins.
func TestQueueScanEndsAtItsBound(t *testing.T) {
	c := fourEntries(t)
	v := c.m.View()
	defer v.Close()
	s, err := newQueueScan(v, admin.QueueFilter{Domain: "nowhere.test"}, nil, c.now)
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for from := (admin.QueuePlace{}); ; looked++ {
		next, err := s.each(from, 1, func(*storepb.QueueEntry, *storepb.QueueMessage) (bool, error) { t.Error("chosen"); return true, nil })
		if err != nil {
			t.Fatal(err)
		}
		if next == nil {
			break
		}
		from = *next
	}
	if looked != 3 {
		t.Errorf("four entries, looked at one by one, took %d more requests, want 3", looked)
	}
}

func TestQueueTable(t *testing.T) {
	c := fourEntries(t)
	piece, err := c.office.listQueue(t.Context(), admin.QueueListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := queuePrinter{out: &out, now: c.now}
	if err := p.print(piece); err != nil {
		t.Fatal(err)
	}
	if err := p.end(true); err != nil {
		t.Fatal(err)
	}
	want := `in: 1, local: 0, remote: 3; held, of these: 1

QUEUE-ID  QUEUE   SIZE  AGE    TRIES  NEXT  OWNER  SENDER               RECIPIENT    REASON
q1        remote  18 B  1h00m  1      now   n1     <an@example.test>    a@far.test   mx.far.test: 451 4.7.1 Từ chối tạm thời
q1        remote  18 B  1h00m  0      now   n1     <an@example.test>    b@far.test
q2        remote  18 B  30m00s  0      now   n2     <>                   a@wide.test
q3        in      18 B  30m00s  0      held  n1     <bulk@example.test>  c@far.test   a rule

There may be more: --limit 0 lists all.
`
	squeeze := func(s string) string {
		lines := strings.Split(s, "\n")
		for i, l := range lines {
			lines[i] = strings.Join(strings.Fields(l), " ")
		}
		return strings.Join(lines, "\n")
	}
	if got := out.String(); squeeze(got) != squeeze(want) {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

func TestQueueTextIsHarmlessOnATerminal(t *testing.T) {
	row := queueRow(admin.QueueEntry{Sender: "a\x1b[2J@b.test", Recipient: "c@d.test", Reason: "x\u202ey\r\n"}, time.Time{})
	if line := strings.Join(row, " "); strings.ContainsAny(line, "\x1b\u202e\r\n") {
		t.Errorf("it would be obeyed: %q", line)
	}
}

func TestQueueShowTellsEverything(t *testing.T) {
	c := fourEntries(t)
	got := as[admin.QueueShow](t, c.good("", "queue", "show", "q1", "--json"))
	if len(got.Messages) != 1 || got.Trace == nil {
		t.Fatalf("shown: %+v", got)
	}
	m := got.Messages[0]
	if m.Sender != "an@example.test" || m.MessageID != "<q1@there.test>" || m.Client != "192.0.2.7" || m.Ret != "HDRS" || !m.EightBit || len(m.Entries) != 2 {
		t.Errorf("message %+v", m)
	}
	if e := m.Entries[0]; e.Code != 451 || e.Status != "4.7.1" || e.Peer != "mx.far.test" || e.Attempts != 1 || e.Owner != "n1" || e.OwnerID != serverA || !e.Next.Equal(c.now) {
		t.Errorf("entry %+v", e)
	}
	var kinds []string
	for _, e := range got.Trace.Events {
		kinds = append(kinds, e.Kind)
	}
	if want := []string{"accepted", "deferred"}; !slices.Equal(kinds, want) {
		t.Errorf("trace %v, want %v", kinds, want)
	}
	text := c.good("", "queue", "show", "q1")
	for _, want := range []string{"message id:  <q1@there.test>\n", "needs:       8BITMIME\n", "recipient:   a@far.test\n", "mx.far.test: 451 4.7.1", "n1 (" + serverA + ")", "message q1\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	c.bad(exitFailed, "quorumail trace", "", "queue", "show", "q9")
}

func TestQueueActions(t *testing.T) {
	c := fourEntries(t)
	if out := c.good("", "queue", "hold", "q1", "--recipient", "b@far.test", "--note", "is it spam?"); out != "1 entry held\n" {
		t.Errorf("hold: %q", out)
	}
	if e := c.entry(1, 2); !e.Held || e.Reason != "is it spam?" || c.entry(1, 1).Held {
		t.Errorf("held: %v", e)
	}
	if out := c.good("", "queue", "retry", "q1"); out != "1 entry will be tried at once\nleft alone: 1 that are held (see: quorumail queue release) or being tried right now\n" {
		t.Errorf("retry: %q", out)
	}
	if e := c.entry(1, 1); e.DueUnixMs != c.now.UnixMilli() {
		t.Errorf("due at %d, want now, %d", e.DueUnixMs, c.now.UnixMilli())
	}
	if out := c.good("", "queue", "release", "--held", "--yes"); out != "2 entries released\n" {
		t.Errorf("release: %q", out)
	}
	if out := c.good("", "queue", "bounce", "--recipient", "a@wide.test", "--reason", "gone"); !strings.HasPrefix(out, "1 entry given up") {
		t.Errorf("bounce: %q", out)
	}
	if e := c.entry(2, 1); e.Notice != uint32(store.NoticeFailed) || e.Reason != "returned by the administrator: gone" {
		t.Errorf("bounced: %v", e)
	}
	c.bad(exitFailed, "is chosen by this", "", "queue", "delete", "--domain", "nowhere.test", "--yes")
	c.bad(exitUsage, "--yes", "", "queue", "delete", "q3")
	if out := c.good("", "queue", "delete", "q3", "--yes"); out != "1 entry deleted\n" {
		t.Errorf("delete: %q", out)
	}
	c.bad(exitFailed, "quorumail trace q3", "", "queue", "delete", "q3", "--yes")
	trace := as[[]admin.Trace](t, c.good("", "trace", "q1", "--json"))
	events := trace[0].Events
	if last := events[len(events)-1]; last.Kind != "released" || last.Text != who() {
		t.Errorf("the trace ends with %+v", last)
	}
}

// Whatever is about several messages that nobody named asks first, and says how much it is about.
func TestQueueActionsAskBeforeTheyHitMuch(t *testing.T) {
	c := fourEntries(t)
	c.bad(exitUsage, "hold: 3 entries of 2 messages: add --yes", "", "queue", "hold", "--domain", "far.test")
	c.bad(exitUsage, "release: 4 entries of 3 messages: add --yes", "", "queue", "release", "--recipient", "*")
	c.bad(exitUsage, "say which", "", "queue", "bounce", "--reason", "all of it", "--yes")
	if out := c.good("", "queue", "flush", "--domain", "wide.test"); out != "1 entry will be tried at once\n" {
		t.Errorf("flush of one message: %q", out)
	}
	if out := c.good("", "queue", "flush"); !strings.HasPrefix(out, "3 entries will be tried at once\nleft alone: 1 ") {
		t.Errorf("flush: %q", out)
	}
}

// A script whose variable was not set must not hit all that waits.
func TestEmptyFlagsChooseNothing(t *testing.T) {
	c := fourEntries(t)
	for _, args := range [][]string{{"flush", "--domain", ""}, {"delete", "--domain", "far.test", "--sender", " ", "--yes"}, {"retry", "--older-than", ""}, {"list", "--reason", ""},
		{"bounce", "--domain", "far.test", "--last-reason", "", "--yes"}} {
		c.bad(exitUsage, "is empty: say what to choose by, or leave it out", "", append([]string{"queue"}, args...)...)
	}
}

// What a list shows as the reason is what --reason finds, status codes and servers too; a note on what is held is nobody's answer.
func TestQueueReasonIsWhatTheListShows(t *testing.T) {
	c := fourEntries(t)
	for reason, want := range map[string]string{"451 4.7.1": "[q1 a@far.test]", "MX.far.test:": "[q1 a@far.test]", "4.7.9": "[]"} {
		if got := fmt.Sprint(recipients(as[queueJSON](t, c.good("", "queue", "list", "--json", "--reason", reason)).Entries)); got != want {
			t.Errorf("%s: %s, want %s", reason, got, want)
		}
	}
	c.good("", "queue", "hold", "q1", "--note", "chờ kiểm tra")
	if out := c.good("", "queue", "list", "q1"); strings.Contains(out, "mx.far.test:") || strings.Count(out, "  chờ kiểm tra\n") != 2 {
		t.Errorf("held:\n%s", out)
	}
}

func TestQueueListSaysThatNothingFits(t *testing.T) {
	c := fourEntries(t)
	if out := c.good("", "queue", "list", "--domain", "nowhere.test"); !strings.Contains(out, "remote: 3") || !strings.HasSuffix(out, "\nNothing of this is what was asked for.\n") {
		t.Errorf("%s", out)
	}
	if out := newOfficeLine(t).good("", "queue", "list"); strings.Contains(out, "Nothing") {
		t.Errorf("empty queues: %s", out)
	}
}

// A list that comes in pieces is one table: columns do not jump, whatever is wide in a later piece.
func TestQueueTableKeepsItsColumns(t *testing.T) {
	var out bytes.Buffer
	p := queuePrinter{out: &out}
	for _, address := range []string{"người.nhận.rất.dài@thư-điện-tử.test", "用户@例え.test", "a@b.test"} {
		if err := p.print(admin.QueueList{Entries: []admin.QueueEntry{{QueueID: "q", Sender: "a@b.test", Recipient: address, Reason: "WHY"}}}); err != nil {
			t.Fatal(err)
		}
	}
	column := -1
	for line := range strings.Lines(out.String()) {
		before, _, ok := strings.Cut(line, "WHY")
		if !ok {
			continue
		}
		if at := screenWidth(before); column >= 0 && at != column {
			t.Errorf("a reason begins in column %d, one before it in %d:\n%s", at, column, out.String())
		} else {
			column = at
		}
	}
}

// An entry that ended between the look and the command is counted, and keeps nothing else from being done.
func TestQueueActionTellsWhatIsGone(t *testing.T) {
	c := fourEntries(t)
	c.lose = func(*storepb.Command) {
		c.attempt(1, 1, &storepb.QueueOutcome{Result: uint32(store.AttemptDelivered), Code: 250})
	}
	if out := c.good("", "queue", "retry", "q1"); out != "1 entry will be tried at once\nnot found any more: 1, which ended meanwhile\n" {
		t.Errorf("retry: %q", out)
	}
}

// More entries than one command may be about are done by several, each once; what comes in meanwhile is left alone.
func TestQueueActionsComeInBatches(t *testing.T) {
	c := newOfficeLine(t)
	var to []string
	for i := range 400 {
		to = append(to, fmt.Sprintf("u%d@far.test", i))
	}
	for i := range 3 {
		c.send(queued{id: fmt.Sprint("q", i), from: "bulk@example.test", to: remoteEntry(to...)})
	}
	largest, commands := 0, 0
	var watch func(*storepb.Command)
	watch = func(cmd *storepb.Command) {
		commands++
		largest = max(largest, len(cmd.GetQueueAdmin().GetRefs()))
		if commands == 1 {
			c.send(queued{id: "late", from: "bulk@example.test", to: remoteEntry("late@far.test")})
		}
		c.lose = watch
	}
	c.lose = watch
	if out := c.good("", "queue", "delete", "--sender", "bulk@example.test", "--yes"); out != "1200 entries deleted\n" {
		t.Errorf("delete: %q", out)
	}
	if commands != 3 || largest != maxQueueAct {
		t.Errorf("%d commands, the largest about %d entries; want 3, and %d", commands, largest, maxQueueAct)
	}
	c.lose = nil
	left := as[queueJSON](t, c.good("", "queue", "list", "--json"))
	if got := recipients(left.Entries); !slices.Equal(got, []string{"late late@far.test"}) {
		t.Errorf("left: %v", got)
	}
}

func TestWhatWasDeliveredIsNotBounced(t *testing.T) {
	c := fourEntries(t)
	c.attempt(1, 1, &storepb.QueueOutcome{Result: uint32(store.AttemptDelivered), Code: 250, Notice: uint32(store.NoticeDelivered)})
	if out := c.good("", "queue", "bounce", "q1", "--recipient", "a@far.test"); !strings.Contains(out, "only the notice to the sender is left") {
		t.Errorf("bounce: %q", out)
	}
	if e := c.entry(1, 1); e.Notice != uint32(store.NoticeDelivered) {
		t.Errorf("the sender will be told %d", e.Notice)
	}
}

func TestQueueCommandsSayWhenThereIsNoMajority(t *testing.T) {
	c := fourEntries(t)
	c.barrier = store.ErrUnavailable
	for _, args := range [][]string{{"queue", "list"}, {"queue", "show", "q1"}, {"queue", "retry", "q1"}, {"trace", "q1"}} {
		c.bad(exitTryAgain, "has it a majority?", "", args...)
	}
}

func TestGlobs(t *testing.T) {
	for _, tt := range []struct {
		pattern, address string
		want             bool
	}{
		{"", "x@y.test", true}, {"x@y.test", "X@Y.test", true}, {"x@y.test", "xx@y.test", false}, {"*", "", true}, {"<>", "", true}, {"<>", "a@b.test", false},
		{"*@y.test", "a.b@y.test", true}, {"*@y.test", "a@yy.test", false}, {"a*b@*", "axxb@q.test", true}, {"a*b*@y.test", "ab@y.test", true}, {"a*a@y.test", "a@y.test", false},
		{"*@müller.example", "x@xn--mller-kva.example", true}, {"*@xn--mller-kva.example", "x@müller.example", true}, {"*.XN--mller-kva.example", "x@a.müller.example", true},
		{"nguye\u0302\u0303n*@y.test", "NGUYỄN.an@y.test", true}, {"*@*.xn--mller-kva.example", "x@müller.example", false},
	} {
		g, err := newGlob(tt.pattern)
		if err != nil || g.matches(tt.address) != tt.want {
			t.Errorf("%q matches %q: %t (%v), want %t", tt.pattern, tt.address, !tt.want, err, tt.want)
		}
	}
}

// Whatever the stars of a pattern stand for, it matches; and it does not match what lacks one of its parts.
func TestGlobsMatchWhateverTheirStarsStandFor(t *testing.T) {
	rng := rand.New(rand.NewPCG(seedOf(t), 1))
	word := func(n int) string {
		b := make([]byte, rng.IntN(n))
		for i := range b {
			b[i] = "ab"[rng.IntN(2)]
		}
		return string(b)
	}
	for range 5000 {
		parts := []string{word(4), word(3), word(3) + "@", word(3) + "x.test"}[rng.IntN(3):]
		g, err := newGlob(strings.Join(parts, "*"))
		if err != nil {
			continue // one part alone, and no address
		}
		address := parts[0]
		for _, p := range parts[1:] {
			address += word(5) + p
		}
		if len(parts) > 1 && !g.matches(address) {
			t.Fatalf("%q does not match %q", g, address)
		}
		if broken := strings.TrimSuffix(address, "t") + "s"; g.matches(broken) {
			t.Fatalf("%q matches %q", g, broken)
		}
	}
}
