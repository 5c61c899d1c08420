package client

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/jepsen/history"
)

func dialTest(t *testing.T, o Options, n Node) *IMAP {
	t.Helper()
	s, err := DialIMAP(t.Context(), o, n, "a@example.test", "secret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestAppendOutcomes(t *testing.T) {
	type row struct {
		answer func(p *peer, tag string, size int)
		slow   bool
		want   history.Outcome
		uid    uint32
	}
	after := func(answer func(*peer, string)) func(*peer, string, int) {
		return func(p *peer, tag string, size int) {
			if size > 4096 {
				p.say("+ go on")
			}
			literal(p, size)
			answer(p, tag)
		}
	}
	rows := map[string]row{
		"stored":           {after(lines("* 1 EXISTS", "TAG OK [APPENDUID 5 7] done")), false, history.OK, 7},
		"unknown":          {after(lines("TAG NO [UNAVAILABLE] Outcome unknown: it may have been done, look before trying again")), false, history.Unknown, 0},
		"nothing was done": {after(lines("TAG NO [UNAVAILABLE] Service unavailable just now, nothing was done")), false, history.Fail, 0},
		"over quota":       {after(lines("TAG NO [OVERQUOTA] Quota exceeded")), false, history.Fail, 0},
		"a bug":            {after(lines("TAG NO [SERVERBUG] Internal error")), false, history.Unknown, 0},
		"BYE":              {after(func(p *peer, _ string) { p.say("* BYE [UNAVAILABLE] Server is shutting down"); _ = p.raw.Close() }), false, history.Unknown, 0},
		"reset":            {after(func(p *peer, _ string) { p.reset() }), false, history.Unknown, 0},
		"silence":          {after(func(p *peer, _ string) { p.hold() }), true, history.Unknown, 0},
		// Whatever the code: the message was not sent.
		"refused at once": {func(p *peer, tag string, size int) {
			if size <= 4096 {
				literal(p, size) // it came unasked
				p.say(tag + " NO [TRYCREATE] No such mailbox")
				return
			}
			p.say(tag + " NO [UNAVAILABLE] Outcome unknown")
		}, false, history.Fail, 0},
	}
	for name, tc := range rows {
		for _, size := range []int{300, 6000} { // without a continuation, and with one
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				o := testOptions()
				msg := []byte("Subject: x\r\n\r\n" + strings.Repeat("x", size-14))
				n := imapServer(t, "LITERAL+ UIDPLUS", imapStep{"APPEND box ", func(p *peer, tag string) { tc.answer(p, tag, size) }})
				s := dialTest(t, o, n)
				if tc.slow {
					s.o = quick(o)
				}
				uid, err := s.Append(t.Context(), "box", msg)
				if Outcome(err) != tc.want || uid != tc.uid {
					t.Errorf("uid %d, %v is %s, want %s", uid, err, Outcome(err), tc.want)
				}
			})
		}
	}
}

// A message that is not taken off the wire was not sent.
func TestAppendThatDoesNotLeaveFails(t *testing.T) {
	n := imapServer(t, "UIDPLUS", imapStep{"APPEND box ", func(p *peer, _ string) {
		p.say("+ go on")
		<-p.t.Context().Done()
	}})
	s := dialTest(t, testOptions(), n)
	s.o = quick(s.o)
	_, err := s.Append(t.Context(), "box", bytes.Repeat([]byte("0123456789abcdef\r\n"), 2<<20))
	if Outcome(err) != history.Fail {
		t.Errorf("%v is %s", err, Outcome(err))
	}
	if s.Alive() {
		t.Error("the connection seems to work")
	}
}

// A connection that has ended before a command is not the command's failure.
func TestDeadConnectionFails(t *testing.T) {
	n := imapServer(t, "UIDPLUS", imapStep{"CREATE", func(p *peer, tag string) { p.say(tag + " OK done"); p.reset() }})
	s := dialTest(t, testOptions(), n)
	if err := s.Create(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	<-s.imap.Closed()
	if _, err := s.Append(t.Context(), "box", []byte("x")); Outcome(err) != history.Fail || s.Alive() {
		t.Errorf("%v is %s", err, Outcome(err))
	}
}

func TestChangeOutcomes(t *testing.T) {
	ctx := t.Context()
	answers := map[string]struct {
		answer func(*peer, string)
		want   history.Outcome
	}{
		"done":             {lines("TAG OK done"), history.OK},
		"unknown":          {lines("TAG NO [UNAVAILABLE] Outcome unknown: it may have been done, look before trying again"), history.Unknown},
		"nothing was done": {lines("TAG NO [UNAVAILABLE] Service unavailable just now, nothing was done"), history.Fail},
		"bad":              {lines("TAG BAD what"), history.Fail},
		"reset":            {func(p *peer, _ string) { p.reset() }, history.Unknown},
	}
	for command, do := range map[string]func(*IMAP) error{
		"UID STORE 3 +FLAGS (\\Seen)": func(s *IMAP) error { _, _, err := s.Store(ctx, 3, `\Seen`, true); return err },
		"UID STORE 3 -FLAGS ($a)":     func(s *IMAP) error { _, _, err := s.Store(ctx, 3, "$a", false); return err },
		"UID EXPUNGE 3":               func(s *IMAP) error { return s.Expunge(ctx, 3) },
		"UID MOVE 3 other":            func(s *IMAP) error { _, err := s.Move(ctx, 3, "other"); return err },
		"CREATE other":                func(s *IMAP) error { return s.Create(ctx, "other") },
	} {
		for name, tc := range answers {
			t.Run(command+"/"+name, func(t *testing.T) {
				s := dialTest(t, testOptions(), imapServer(t, "UIDPLUS MOVE", imapStep{command, tc.answer}))
				if err := do(s); Outcome(err) != tc.want {
					t.Errorf("%v is %s, want %s", err, Outcome(err), tc.want)
				}
			})
		}
	}
}

func TestMoveTellsTheNewUID(t *testing.T) {
	s := dialTest(t, testOptions(), imapServer(t, "UIDPLUS MOVE",
		imapStep{"UID MOVE 3 other", lines("* OK [COPYUID 9 3 17] Moved", "* 1 EXPUNGE", "TAG OK done")},
		imapStep{"UID MOVE 3 other", lines("TAG OK done")}))
	if uid, err := s.Move(t.Context(), 3, "other"); uid != 17 || err != nil {
		t.Errorf("%d, %v", uid, err)
	}
	if uid, err := s.Move(t.Context(), 3, "other"); uid != 0 || err != nil {
		t.Errorf("of nothing: %d, %v", uid, err)
	}
}

// What others did to the message is told before the STORE's own answer, and is not that.
func TestStoreTellsItsOwnModSeq(t *testing.T) {
	s := dialTest(t, testOptions(), imapServer(t, "CONDSTORE",
		imapStep{"UID STORE 3", lines(`* 2 FETCH (UID 3 MODSEQ (40) FLAGS (\Flagged))`, `* 1 FETCH (UID 13 MODSEQ (41) FLAGS ())`, `* 2 FETCH (UID 3 MODSEQ (42) FLAGS (\Seen))`, `* 1 FETCH (UID 13 MODSEQ (50) FLAGS ())`, "TAG OK done")},
		imapStep{"UID STORE 3", lines(`* 2 FETCH (FLAGS (\Seen) UID 3)`, "TAG OK done")},
		imapStep{"UID STORE 3", lines("* 2 EXPUNGE", "TAG OK done")}))
	for i, want := range []struct {
		modSeq uint64
		seen   bool
	}{{42, true}, {0, true}, {0, false}} {
		if modSeq, seen, err := s.Store(t.Context(), 3, `\Seen`, true); modSeq != want.modSeq || seen != want.seen || err != nil {
			t.Errorf("%d: %d, %v, %v; want %+v", i, modSeq, seen, err, want)
		}
	}
}

func TestLoginOutcomes(t *testing.T) {
	server, trust := certificate()
	for name, tc := range map[string]struct {
		answer string
		want   history.Outcome
		auth   bool
	}{
		"wrong password": {"TAG NO [AUTHENTICATIONFAILED] Wrong address or password", history.Fail, true},
		"unavailable":    {"TAG NO [UNAVAILABLE] Service unavailable just now, nothing was done", history.Fail, false},
		"a bug":          {"TAG NO [SERVERBUG] Internal error", history.Fail, false}, // a login changes nothing
		"no answer":      {"", history.Unknown, false},
	} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, server, func(p *peer) {
				p.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready")
				tag, _, _ := strings.Cut(p.line(), " ")
				if tc.answer != "" {
					lines(tc.answer)(p, tag)
					p.hold()
				}
			})
			_, err := DialIMAP(t.Context(), testOptions(), Node{Name: "n1", IMAPS: address, TLS: trust}, "a@example.test", "secret")
			if Outcome(err) != tc.want || IsAuth(err) != tc.auth {
				t.Errorf("%v is %s, about the password: %v", err, Outcome(err), IsAuth(err))
			}
		})
	}
	for name, n := range map[string]Node{"nobody listens": {IMAPS: refused(t), TLS: trust}, "no certificate": {IMAPS: refused(t)}, "no address": {TLS: trust}} {
		if _, err := DialIMAP(t.Context(), testOptions(), n, "a@example.test", "secret"); Outcome(err) != history.Fail {
			t.Errorf("%s: %v", name, err)
		}
	}
}
