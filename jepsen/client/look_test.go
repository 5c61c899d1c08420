package client

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumail/quorumail/jepsen/history"
)

// fetchAll begins the command of a look; the library gives its items in any order.
const fetchAll = "UID FETCH 1:* (UID "

// told is a FETCH response of a look.
func told(seq, uid, modSeq int, flags, id string) string {
	header := "X-Jepsen-Id: " + id + "\r\n\r\n"
	return "* " + strconv.Itoa(seq) + " FETCH (UID " + strconv.Itoa(uid) + " FLAGS (" + flags + ") MODSEQ (" + strconv.Itoa(modSeq) + ") BODY[HEADER.FIELDS (X-Jepsen-Id)] {" + strconv.Itoa(len(header)) + "}\r\n" + header + ")"
}

func selected(uidNext, modSeq string) imapStep {
	return imapStep{"SELECT box (CONDSTORE)", lines("* 2 EXISTS", "* OK [UIDVALIDITY 5] x", "* OK [UIDNEXT "+uidNext+"] x", "* OK [HIGHESTMODSEQ "+modSeq+"] x", "TAG OK [READ-WRITE] done")}
}

func status(uidNext, modSeq string, more ...string) imapStep {
	return imapStep{"STATUS box (", lines(append([]string{"* STATUS box (UIDNEXT " + uidNext + " UIDVALIDITY 5 HIGHESTMODSEQ " + modSeq + ")"}, append(more, "TAG OK done")...)...)}
}

func TestLook(t *testing.T) {
	s := dialTest(t, testOptions(), imapServer(t, "CONDSTORE", selected("9", "77"),
		imapStep{fetchAll, lines(told(1, 3, 70, `\Seen \Recent $B`, "m3"), told(2, 8, 77, "", "m8"), "* 1 FETCH (UID 3 MODSEQ (78) FLAGS (\\Answered))", "TAG OK done")}))
	got, err := s.Look(t.Context(), "box")
	if err != nil {
		t.Fatal(err)
	}
	want := &history.Mailbox{UIDValidity: 5, UIDNext: 9, HighestModSeq: 77, Messages: []history.Message{
		{UID: 3, ID: "m3", Flags: []string{"$b", `\seen`}, ModSeq: 70}, {UID: 8, ID: "m8", ModSeq: 77}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A message that goes while a mailbox is read makes it be read again, so that what is told was true at one moment.
func TestLookSettles(t *testing.T) {
	s := dialTest(t, testOptions(), imapServer(t, "CONDSTORE", selected("9", "77"),
		imapStep{fetchAll, lines(told(1, 3, 70, "", "m3"), "* 2 EXPUNGE", "* 2 EXISTS", "TAG OK done")},
		imapStep{"NOOP", lines("* 3 EXISTS", "TAG OK done")},
		status("11", "80", "* 4 EXISTS"), // older than what follows it
		imapStep{"NOOP", lines("TAG OK done")},
		status("12", "81"),
		imapStep{fetchAll, lines(told(1, 3, 70, "", "m3"), told(2, 11, 81, "", "m11"), "TAG OK done")}))
	got, err := s.Look(t.Context(), "box")
	if err != nil {
		t.Fatal(err)
	}
	want := &history.Mailbox{UIDValidity: 5, UIDNext: 12, HighestModSeq: 81, Messages: []history.Message{{UID: 3, ID: "m3", ModSeq: 70}, {UID: 11, ID: "m11", ModSeq: 81}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What only came is not shown yet: the mailbox is told as it was when it was selected.
func TestLookLeavesNewMessagesToTheNext(t *testing.T) {
	s := dialTest(t, testOptions(), imapServer(t, "CONDSTORE", selected("9", "77"),
		imapStep{fetchAll, lines(told(1, 3, 70, "", "m3"), told(2, 8, 77, "", "m8"), "* 3 EXISTS", "TAG OK done")}))
	if got, err := s.Look(t.Context(), "box"); err != nil || len(got.Messages) != 2 || got.UIDNext != 9 || got.HighestModSeq != 77 {
		t.Errorf("%+v, %v", got, err)
	}
}

// Flags that change between SELECT and FETCH are newer than what SELECT told: it is told as at the FETCH if nothing came or went around it.
func TestLookWithChangedFlags(t *testing.T) {
	changed := imapStep{fetchAll, lines(told(1, 3, 78, `\Seen`, "m3"), "TAG OK done")}
	noop := imapStep{"NOOP", lines("TAG OK done")}
	for name, tc := range map[string]struct {
		steps []imapStep
		want  *history.Mailbox
	}{
		"flags alone": {[]imapStep{noop, status("9", "79")},
			&history.Mailbox{UIDValidity: 5, UIDNext: 9, HighestModSeq: 79, Messages: []history.Message{{UID: 3, ID: "m3", Flags: []string{`\seen`}, ModSeq: 78}}}},
		"a message came and went": {[]imapStep{noop, status("10", "80"), noop, status("10", "80"), {fetchAll, lines(told(1, 3, 78, "", "m3"), "TAG OK done")}},
			&history.Mailbox{UIDValidity: 5, UIDNext: 10, HighestModSeq: 80, Messages: []history.Message{{UID: 3, ID: "m3", ModSeq: 78}}}},
		"a message came": {[]imapStep{{"NOOP", lines("* 2 EXISTS", "TAG OK done")}, status("10", "80"), noop, status("10", "80"), {fetchAll, lines(told(1, 3, 78, "", "m3"), told(2, 9, 80, "", "m9"), "TAG OK done")}},
			&history.Mailbox{UIDValidity: 5, UIDNext: 10, HighestModSeq: 80, Messages: []history.Message{{UID: 3, ID: "m3", ModSeq: 78}, {UID: 9, ID: "m9", ModSeq: 80}}}},
		// What the server says stands, also when it contradicts itself.
		"a message above the highest": {[]imapStep{noop, status("9", "77")},
			&history.Mailbox{UIDValidity: 5, UIDNext: 9, HighestModSeq: 77, Messages: []history.Message{{UID: 3, ID: "m3", Flags: []string{`\seen`}, ModSeq: 78}}}},
	} {
		s := dialTest(t, testOptions(), imapServer(t, "CONDSTORE", append([]imapStep{selected("9", "77"), changed}, tc.steps...)...))
		got, err := s.Look(t.Context(), "box")
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestLookThatNeverSettlesFails(t *testing.T) {
	steps := []imapStep{selected("9", "77")}
	for range maxLooks {
		steps = append(steps, imapStep{fetchAll, lines(told(1, 3, 70, "", "m3"), "* 2 EXPUNGE", "TAG OK done")}, imapStep{"NOOP", lines("TAG OK done")}, status("9", "77"))
	}
	s := dialTest(t, testOptions(), imapServer(t, "CONDSTORE", steps...))
	if got, err := s.Look(t.Context(), "box"); Outcome(err) != history.Fail || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRefresh(t *testing.T) {
	s := dialTest(t, testOptions(), imapServer(t, "CONDSTORE", selected("9", "77"),
		imapStep{fetchAll, lines("TAG OK done")},
		imapStep{"NOOP", lines("* 1 EXISTS", "TAG OK done")},
		status("10", "78"),
		imapStep{fetchAll, lines(told(1, 9, 78, "", "m9"), "TAG OK done")},
		imapStep{"NOOP", lines("TAG NO [UNAVAILABLE] Service unavailable just now, nothing was done")}))
	if got, err := s.Look(t.Context(), "box"); err != nil || len(got.Messages) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	got, err := s.Refresh(t.Context())
	want := &history.Mailbox{UIDValidity: 5, UIDNext: 10, HighestModSeq: 78, Messages: []history.Message{{UID: 9, ID: "m9", ModSeq: 78}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := s.Refresh(t.Context()); Outcome(err) != history.Fail {
		t.Errorf("%v is %s", err, Outcome(err))
	}
}

func TestLookWholeFindsWhatIsCorrupt(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	good, bad, other := Message("good", "a@example.test", 3000, rng), Message("bad", "a@example.test", 3000, rng), Message("other", "a@example.test", 3000, rng)
	bad[len(bad)-100] ^= 1
	stored := func(seq, uid string, raw []byte) string {
		raw = append([]byte("Received: by here\r\n"), raw...)
		return "* " + seq + " FETCH (UID " + uid + " BODY[] {" + strconv.Itoa(len(raw)) + "}\r\n" + string(raw) + ")"
	}
	s := dialTest(t, testOptions(), imapServer(t, "CONDSTORE", selected("9", "77"),
		imapStep{fetchAll, lines(told(1, 3, 70, "", "good"), told(2, 4, 77, "", "bad"), told(3, 5, 77, "", "swapped"), told(4, 6, 77, "", "none"), told(5, 7, 77, "", "nil"), "TAG OK done")},
		imapStep{"UID FETCH 3:7 (UID BODY.PEEK[])", func(p *peer, tag string) {
			p.say(stored("1", "3", good), stored("2", "4", bad), stored("3", "5", other), "* 5 FETCH (UID 7 BODY[] NIL)", tag+" OK done")
		}}))
	got, corrupt, err := s.LookWhole(t.Context(), "box")
	if err != nil || len(got.Messages) != 5 || len(corrupt) != 4 {
		t.Fatalf("%+v, %+v, %v", got, corrupt, err)
	}
	for i, id := range []string{"bad", "swapped", "none", "nil"} {
		if c := corrupt[i]; c.ID != id || c.UID != uint32(4+i) || c.Err == nil {
			t.Errorf("%+v, want %s", c, id)
		}
	}
}

func TestMessageCanBeChecked(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, size := range []int{0, 300, 1000, 5000, 100_000, 1 << 20} {
		msg := Message("m1", "a@example.test", size, rng)
		if len(msg) > max(size, 800)+200 || len(msg) < size-100 {
			t.Errorf("of %d bytes it has %d", size, len(msg))
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(string(msg), "\r\n"), "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") {
				t.Errorf("a line of %d bytes: %q", len(line), line)
			}
		}
		if id, err := Check(msg); id != "m1" || err != nil {
			t.Errorf("%q, %v", id, err)
		}
		if id, err := Check(append([]byte("Received: x\r\n"), msg...)); id != "m1" || err != nil {
			t.Errorf("with a trace: %q, %v", id, err)
		}
		for name, other := range map[string][]byte{"cut": msg[:len(msg)-2], "longer": append(msg[:len(msg):len(msg)], 'x'),
			"without a body":  msg[:strings.Index(string(msg), "\r\n\r\n")],
			"another subject": bytes.Replace(msg, []byte("Subject: "), []byte("Subject:  "), 1), "without a sum": msg[bytes.IndexByte(msg, '\n')+1:]} {
			if id, err := Check(other); id != "m1" || err == nil {
				t.Errorf("%s: %q, %v", name, id, err)
			}
		}
	}
	if id, err := Check([]byte("Subject: x\r\n\r\nnone of ours\r\n")); id != "" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
}
