package imapd

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

const multipart = "From: a@example.test\r\nSubject: parts\r\nX-Own: yes\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
	"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
	"AAEC\r\nAw==\r\n--b--\r\n"

func TestListsAreServedWithoutOpeningBodies(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	c.appendMessage("INBOX", multipart)
	c.ok("a SELECT INBOX")
	c.ok("b FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE PREVIEW EMAILID MODSEQ BODY.PEEK[HEADER.FIELDS (FROM SUBJECT DATE)])")
	c.ok("c SEARCH FROM example SUBJECT parts SINCE 1-Jan-2020")
	if n := ts.store.opened.Load(); n != 0 {
		t.Errorf("%d bodies were opened", n)
	}
	c.send("d FETCH 1 BODY.PEEK[1]")
	c.expect(`* 1 FETCH (MODSEQ (2) BODY[1] {5}\r\nhello)`)
	c.expect("d OK ...")
	if n := ts.store.readBytes.Load(); n != 5 {
		t.Errorf("%d bytes were read for a part of 5", n)
	}
}

func TestSections(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	c.appendMessage("INBOX", multipart)
	c.ok("a SELECT INBOX")
	for _, tc := range []struct{ item, want string }{
		{"BODY.PEEK[]", "BODY[] " + literal(multipart)},
		{"RFC822.HEADER", "RFC822.HEADER " + literal(multipart[:strings.Index(multipart, "--b\r")])},
		{"BODY.PEEK[HEADER.FIELDS (X-OWN)]", `BODY[HEADER.FIELDS (X-OWN)] ` + literal("X-Own: yes\r\n\r\n")},
		{"BODY.PEEK[HEADER.FIELDS.NOT (Content-Type X-Own)]", `BODY[HEADER.FIELDS.NOT (Content-Type X-Own)] ` +
			literal("From: a@example.test\r\nSubject: parts\r\n\r\n")},
		{"BODY.PEEK[TEXT]<4.5>", `BODY[TEXT]<4> {5}\r\n\nCont`},
		{"BODY.PEEK[TEXT]<99999.5>", `BODY[TEXT]<99999> {0}\r\n`},
		{"BODY.PEEK[3]", `BODY[3] NIL`},
		{"BINARY.PEEK[2]", "BINARY[2] ~{4}\\r\\n\x00\x01\x02\x03"},
		{"BINARY.PEEK[2]<1.2>", "BINARY[2]<1> ~{2}\\r\\n\x01\x02"},
		{"BINARY.SIZE[2]", "BINARY.SIZE[2] 4"},
	} {
		c.send("b FETCH 1 " + tc.item)
		if got := c.expect("* 1 FETCH (...)"); got != "* 1 FETCH ("+tc.want+")" {
			t.Errorf("%s:\ngot  %q\nwant %q", tc.item, got, tc.want)
		}
		c.expect("b OK ...")
	}
	c.send("c FETCH 1 BINARY.PEEK[9]")
	c.expect("c NO [UNKNOWN-CTE] ...")
}

func literal(s string) string {
	return fmt.Sprintf(`{%d}\r\n`, len(s)) + strings.NewReplacer("\r", `\r`, "\n", `\n`).Replace(s)
}

// The summary is a cache: without it, the same answers come from the body.
func TestMissingSummaryIsMadeAnew(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	c.appendMessage("INBOX", multipart)
	c.ok("a SELECT INBOX")
	const items = "b FETCH 1 (ENVELOPE BODY BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (FROM)] BODY.PEEK[TEXT] BODY.PEEK[2.MIME])"
	want := c.ok(items)
	ts.store.mu.Lock()
	for _, e := range ts.store.state.emails {
		e.Summary = nil
	}
	ts.store.mu.Unlock()
	if got := c.ok(items); got[0] != want[0] {
		t.Errorf("without the summary:\n%s\nwith it:\n%s", got[0], want[0])
	}
}

func TestLargeMessageNeedsLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 32 MiB")
	}
	ts := startServer(t, nil)
	c := ts.login()
	big := "Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("z", 76)+"\r\n", 430_000)
	c.appendMessage("INBOX", big)
	c.ok("a SELECT INBOX")
	// The collector would let garbage grow as large as the message that the test itself holds.
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.ok("b SEARCH BODY nowhere")
	runtime.ReadMemStats(&after)
	// Folding makes garbage; what is held at once is what the session needs.
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 32<<20 {
		t.Errorf("the heap grew by %d MiB for a search of %d MiB", grown>>20, len(big)>>20)
	}
	if n := ts.store.readBytes.Load(); n > int64(len(big))+1<<20 {
		t.Errorf("%d bytes were read of %d", n, len(big))
	}
}

func TestManyMessagesInChunks(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	const n = 2*chunkMessages + 10
	for i := range n {
		c.appendMessage("INBOX", fmt.Sprintf("Subject: message %d\r\n\r\ntext\r\n", i+1))
	}
	c.ok("a SELECT INBOX")
	lines := c.ok("b FETCH 1:* (UID ENVELOPE)")
	if len(lines) != n+1 {
		t.Fatalf("%d lines, want %d", len(lines), n+1)
	}
	for i, line := range lines[:n] {
		if !like(fmt.Sprintf(`* %d FETCH (UID %d ENVELOPE (NIL "message %d" ...`, i+1, i+1, i+1), line) {
			t.Fatalf("line %d is %s", i+1, line)
		}
	}
	c.ok(fmt.Sprintf("c STORE 2:%d +FLAGS.SILENT (\\Deleted)", n-1))
	if got := c.ok("d EXPUNGE"); len(got) != n-1 || got[0] != fmt.Sprintf("* %d EXPUNGE", n-1) {
		t.Errorf("EXPUNGE answered %d lines, the first %s", len(got), got[0])
	}
	if got := c.ok("e FETCH 1:* UID"); got[0] != "* 1 FETCH (UID 1)" || got[1] != fmt.Sprintf("* 2 FETCH (UID %d)", n) {
		t.Errorf("after EXPUNGE: %q", got)
	}
}

// Several clients change one mailbox at random; each follows the numbers that it was told, and they are always right.
func TestNumbersStayRightWhileOthersChangeTheMailbox(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	ts := startServer(t, nil)
	followers := make([]*follower, 3)
	for i := range followers {
		followers[i] = &follower{client: ts.login()}
		followers[i].run("SELECT INBOX")
	}
	for range 600 {
		f := followers[rnd.IntN(len(followers))]
		n := max(1, len(f.uids))
		a := 1 + rnd.IntN(n)
		b := min(a+rnd.IntN(3), n)
		switch op := rnd.IntN(9); {
		case op < 2 || len(f.uids) == 0:
			f.run("APPEND INBOX {17+}\r\nSubject: x\r\n\r\ny\r\n")
		case op == 2:
			f.run(fmt.Sprintf("STORE %d:%d +FLAGS (\\Deleted)", a, b))
		case op == 3:
			f.run(fmt.Sprintf("STORE %d +FLAGS.SILENT (\\Deleted)", a))
		case op == 4:
			f.run("EXPUNGE")
		case op == 5:
			f.run(fmt.Sprintf("MOVE %d Trash", a))
		case op == 6:
			f.run("SEARCH ALL")
		case op == 7:
			f.run(fmt.Sprintf("FETCH %d:%d (UID FLAGS)", a, b))
		case op == 8:
			f.run(fmt.Sprintf("COPY %d:%d INBOX", a, b))
		}
	}
	v := ts.store.View()
	var want []uint32
	_ = v.Entries(fakeAccount, 1, 1, func(uid store.UID, _ *storepb.Entry) bool { want = append(want, uint32(uid)); return true })
	for i, f := range followers {
		f.run("NOOP")
		f.run("FETCH 1:* (UID)")
		if fmt.Sprint(f.uids) != fmt.Sprint(want) {
			t.Errorf("client %d follows %v, want %v", i, f.uids, want)
		}
	}
}

// follower keeps the list of messages as a client does; 0: it has not asked for the UID.
type follower struct {
	*client
	uids []uint32
}

func (f *follower) run(cmd string) {
	f.t.Helper()
	for _, line := range f.do("f " + cmd) {
		var n, uid uint32
		switch {
		case scan(line, "* %d EXISTS", &n):
			if int(n) < len(f.uids) {
				f.t.Fatalf("%s: EXISTS went back from %d to %d", cmd, len(f.uids), n)
			}
			f.uids = append(f.uids, make([]uint32, int(n)-len(f.uids))...)
		case scan(line, "* %d EXPUNGE", &n):
			if n == 0 || int(n) > len(f.uids) {
				f.t.Fatalf("%s: EXPUNGE %d of %d", cmd, n, len(f.uids))
			}
			if op, _, _ := strings.Cut(cmd, " "); op == "FETCH" || op == "STORE" || op == "SEARCH" {
				f.t.Fatalf("%s answered %s", cmd, line)
			}
			f.uids = append(f.uids[:n-1], f.uids[n:]...)
		case scan(line, "* %d FETCH (UID %d", &n, &uid):
			if f.uids[n-1] != 0 && f.uids[n-1] != uid {
				f.t.Fatalf("%s: message %d has UID %d, and had %d", cmd, n, uid, f.uids[n-1])
			}
			f.uids[n-1] = uid
		case strings.HasPrefix(line, "f BAD"):
			f.t.Fatalf("%s: %s", cmd, line)
		}
	}
}

func scan(line, format string, args ...any) bool {
	if _, word, _ := strings.Cut(strings.TrimPrefix(format, "* %d "), " "); word == "" && !strings.HasSuffix(line, format[strings.LastIndexByte(format, ' '):]) {
		return false
	}
	n, err := fmt.Sscanf(line, format, args...)
	return err == nil && n == len(args)
}
