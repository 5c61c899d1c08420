package imapd

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/storepb"
)

// The messages of "three" have the mod-sequences 2, 3 and 4; an empty mailbox has 1.
func TestRFC7162(t *testing.T) {
	checkSentences(t, []sentence{
		// RFC 7162 §3.1: ENABLE CONDSTORE is a CONDSTORE enabling command; from then on all FETCH responses have MODSEQ.
		{"3.1 ENABLE CONDSTORE enables", `-- login
C: e ENABLE CONDSTORE
S: * ENABLED CONDSTORE
S: e OK ...
C: f ENABLE CONDSTORE
S: * ENABLED
S: f OK ...
` + three[len("-- login\n"):] + `C: a FETCH 1:2 FLAGS
S: * 1 FETCH (MODSEQ (2) FLAGS (\Recent))
S: * 2 FETCH (MODSEQ (3) FLAGS (\Flagged \Recent))
S: a OK ...
C: b STORE 1 +FLAGS (\Seen)
S: * 1 FETCH (UID 1 MODSEQ (5) FLAGS (\Seen \Recent))
S: b OK ...`},
		// RFC 7162 §3.1: the enabling commands, and what the first of them tells where a mailbox is selected.
		{"3.1 SELECT with CONDSTORE enables", three + `C: a SELECT INBOX (CONDSTORE)
S: * OK [CLOSED] ...
S: * FLAGS ...
S: * OK [PERMANENTFLAGS ...
S: * 3 EXISTS
S: * 0 RECENT
S: * OK [UNSEEN ...
S: * OK [UIDVALIDITY ...
S: * OK [UIDNEXT ...
S: * OK [HIGHESTMODSEQ 4] ...
S: a OK [READ-WRITE] ...
C: b FETCH 1 UID
S: * 1 FETCH (MODSEQ (2) UID 1)
S: b OK ...`},
		{"3.1 STATUS with HIGHESTMODSEQ enables", three + `C: a STATUS Trash (HIGHESTMODSEQ)
S: * OK [HIGHESTMODSEQ 4] ...
S: * STATUS Trash (HIGHESTMODSEQ 1)
S: a OK ...
C: b STATUS INBOX (HIGHESTMODSEQ UIDNEXT)
S: * STATUS INBOX (HIGHESTMODSEQ 4 UIDNEXT 4)
S: b OK ...
C: c FETCH 1 UID
S: * 1 FETCH (MODSEQ (2) UID 1)
S: c OK ...`},
		{"3.1 LIST that asks for such a STATUS enables", three + `C: a LIST "" T% RETURN (STATUS (HIGHESTMODSEQ))
S: * OK [HIGHESTMODSEQ 4] ...
S: * LIST ...
S: * STATUS Trash (HIGHESTMODSEQ 1)
S: a OK ...
C: c FETCH 1 UID
S: * 1 FETCH (MODSEQ (2) UID 1)
S: c OK ...`},
		{"3.1 FETCH of MODSEQ enables", three + `C: a FETCH 1 (MODSEQ)
S: * OK [HIGHESTMODSEQ 4] ...
S: * 1 FETCH (MODSEQ (2))
S: a OK ...
C: c FETCH 1 UID
S: * 1 FETCH (MODSEQ (2) UID 1)
S: c OK ...`},
		{"3.1 FETCH with CHANGEDSINCE enables", three + `C: a UID FETCH 1:* FLAGS (CHANGEDSINCE 4)
S: * OK [HIGHESTMODSEQ 4] ...
S: a OK ...
C: c FETCH 1 UID
S: * 1 FETCH (MODSEQ (2) UID 1)
S: c OK ...`},
		{"3.1 STORE with UNCHANGEDSINCE enables", three + `C: a STORE 1 (UNCHANGEDSINCE 1) +FLAGS.SILENT (\Seen)
S: * OK [HIGHESTMODSEQ 4] ...
S: * 1 FETCH (UID 1 MODSEQ (2) FLAGS (\Recent))
S: a OK [MODIFIED 1] ...
C: c FETCH 1 UID
S: * 1 FETCH (MODSEQ (2) UID 1)
S: c OK ...`},
		{"3.1 SEARCH for MODSEQ enables", three + `C: a SEARCH OR SEEN NOT MODSEQ 1
S: * OK [HIGHESTMODSEQ 4] ...
S: * SEARCH
S: a OK ...
C: c FETCH 1 UID
S: * 1 FETCH (MODSEQ (2) UID 1)
S: c OK ...`},
		{"3.1 other commands do not enable", three + `C: a STATUS INBOX (MESSAGES)
S: * STATUS INBOX (MESSAGES 3)
S: a OK ...
C: b STORE 1 +FLAGS (\Seen)
S: * 1 FETCH (UID 1 FLAGS (\Seen \Recent))
S: b OK ...
C: c STORE 1 -FLAGS.SILENT (\Seen)
S: c OK ...
C: d FETCH 1 UID
S: * 1 FETCH (UID 1)
S: d OK ...`},
		// RFC 7162 §3.1: "or an external agent".
		{"3.1 what another client changes is told with MODSEQ", three + `-- login 2
C: a ENABLE CONDSTORE
S: * ENABLED CONDSTORE
S: * OK [HIGHESTMODSEQ 4] ...
S: a OK ...
C2: s SELECT INBOX
S2: * FLAGS ...
S2: * OK [PERMANENTFLAGS ...
S2: * 3 EXISTS
S2: * 0 RECENT
S2: * OK [UNSEEN ...
S2: * OK [UIDVALIDITY ...
S2: * OK [UIDNEXT ...
S2: * OK [HIGHESTMODSEQ 4] ...
S2: s OK ...
C2: b STORE 2 +FLAGS.SILENT (\Seen)
S2: b OK ...
C: c NOOP
S: * 2 FETCH (UID 2 MODSEQ (5) FLAGS (\Flagged \Seen \Recent))
S: c OK ...
C: d IDLE
S: + idling
C2: d STORE 3 +FLAGS (\Draft)
S2: * 3 FETCH (UID 3 FLAGS (\Draft))
S2: d OK ...
S: * 3 FETCH (UID 3 MODSEQ (6) FLAGS (\Draft \Recent))
C: DONE
S: d OK ...`},
		// RFC 7162 §3.1: until the connection is closed.
		{"3.1 it lasts over the selection", three + `C: a SEARCH MODSEQ 9
S: * OK [HIGHESTMODSEQ 4] ...
S: * SEARCH
S: a OK ...
C: b UNSELECT
S: b OK ...
` + selectINBOX + `C: c FETCH 1 (FLAGS)
S: * 1 FETCH (MODSEQ (2) FLAGS ())
S: c OK ...`},
		// RFC 7162 §3.1.1.
		{"3.1.1 CONDSTORE is a capability", `-- login
C: a CAPABILITY
S: * CAPABILITY ... CONDSTORE ...
S: a OK ...`},
		// RFC 7162 §3.1: FETCH that sets \Seen changes the mod-sequence, and shows it.
		{"3.1 FETCH that sets Seen shows the new mod-sequence", three + `C: a FETCH 2 (MODSEQ BODY[TEXT])
S: * OK [HIGHESTMODSEQ 4] ...
S: * 2 FETCH (MODSEQ (5) BODY[TEXT] {0}\r\n FLAGS (\Flagged \Seen \Recent))
S: a OK ...
C: b FETCH 2 BODY[TEXT]
S: * 2 FETCH (MODSEQ (5) BODY[TEXT] {0}\r\n)
S: b OK ...`},
		// RFC 7162 §3.1: each STORE gets a mod-sequence of its own, and a later one a larger one; §3.1.11: what changes nothing keeps it.
		{"3.1 mod-sequences grow", three + `C: a STORE 1 (UNCHANGEDSINCE 4) +FLAGS (x)
S: * OK [HIGHESTMODSEQ 4] ...
S: * FLAGS ...
S: * 1 FETCH (UID 1 MODSEQ (5) FLAGS (x \Recent))
S: a OK ...
C: b STORE 1:2 +FLAGS (y)
S: * FLAGS ...
S: * 1 FETCH (UID 1 MODSEQ (6) FLAGS (x y \Recent))
S: * 2 FETCH (UID 2 MODSEQ (6) FLAGS (\Flagged y \Recent))
S: b OK ...
C: c STORE 1:2 +FLAGS (y)
S: * 1 FETCH (UID 1 MODSEQ (6) FLAGS (x y \Recent))
S: * 2 FETCH (UID 2 MODSEQ (6) FLAGS (\Flagged y \Recent))
S: c OK ...
C: d STATUS INBOX (HIGHESTMODSEQ)
S: * STATUS INBOX (HIGHESTMODSEQ 6)
S: d OK ...`},
		// RFC 7162 §3.1: a message that is new in a mailbox has a mod-sequence above all that were there.
		{"3.1 APPEND, COPY and MOVE give new mod-sequences", three + `C: a COPY 1:2 INBOX
S: * 5 EXISTS
S: * 5 RECENT
S: a OK [COPYUID ...
C: b APPEND INBOX {14+}
C: Subject: D
C: 
C: 
S: * 6 EXISTS
S: * 6 RECENT
S: b OK [APPENDUID ...
C: c UID FETCH 4:* MODSEQ
S: * OK [HIGHESTMODSEQ 7] ...
S: * 4 FETCH (UID 4 MODSEQ (5))
S: * 5 FETCH (UID 5 MODSEQ (6))
S: * 6 FETCH (UID 6 MODSEQ (7))
S: c OK ...
C: d MOVE 1 INBOX
S: * OK [COPYUID ...
S: * 1 EXPUNGE
S: * 6 EXISTS
S: * 6 RECENT
S: d OK [HIGHESTMODSEQ 9] ...
C: e UID FETCH 7 MODSEQ
S: * 6 FETCH (UID 7 MODSEQ (8))
S: e OK ...`},
		// RFC 7162 §3.1.2, §3.1.2.1: HIGHESTMODSEQ after SELECT and EXAMINE.
		{"3.1.2.1 EXAMINE tells HIGHESTMODSEQ", `-- login
C: a EXAMINE Trash
S: * FLAGS ...
S: * OK [PERMANENTFLAGS ...
S: * 0 EXISTS
S: * 0 RECENT
S: * OK [UIDVALIDITY ...
S: * OK [UIDNEXT 1] ...
S: * OK [HIGHESTMODSEQ 1] ...
S: a OK [READ-ONLY] ...
C: b EXAMINE INBOX (CONDSTORE)
S: * OK [CLOSED] ...
S: * FLAGS ...
S: * OK [PERMANENTFLAGS ...
S: * 0 EXISTS
S: * 0 RECENT
S: * OK [UIDVALIDITY ...
S: * OK [UIDNEXT 1] ...
S: * OK [HIGHESTMODSEQ 1] ...
S: b OK [READ-ONLY] ...
C: c STORE 1 (UNCHANGEDSINCE 9) FLAGS ()
S: c NO [READ-ONLY] ...`},
		// RFC 7162 §3.1.3: the operation is done where the mod-sequence is equal or less.
		{"3.1.3 UNCHANGEDSINCE lets through what is equal or less", three + `C: a UID STORE 1,2 (UNCHANGEDSINCE 3) +FLAGS (\Seen)
S: * OK [HIGHESTMODSEQ 4] ...
S: * 1 FETCH (UID 1 MODSEQ (5) FLAGS (\Seen \Recent))
S: * 2 FETCH (UID 2 MODSEQ (5) FLAGS (\Flagged \Seen \Recent))
S: a OK STORE completed`},
		// RFC 7162 §3.1.3: an untagged FETCH with MODSEQ even with .SILENT, also where the flags were so already.
		{"3.1.3 the new mod-sequence is told also with SILENT", three + `C: a UID STORE 1:2 (UNCHANGEDSINCE 3) +FLAGS.SILENT (\Flagged)
S: * OK [HIGHESTMODSEQ 4] ...
S: * 1 FETCH (UID 1 MODSEQ (5))
S: * 2 FETCH (UID 2 MODSEQ (3))
S: a OK STORE completed
C: b STORE 3 FLAGS.SILENT (\Draft)
S: * 3 FETCH (UID 3 MODSEQ (6))
S: b OK ...
C: c STORE 3 FLAGS.SILENT (\Draft)
S: c OK ...`},
		// RFC 7162 §3.1.3: where it is greater the operation is not done, and the message's number or UID is told in MODIFIED.
		{"3.1.3 MODIFIED names what was changed", three + `C: a STORE 1 FLAGS.SILENT (\Deleted)
S: a OK ...
C: b EXPUNGE
S: * 1 EXPUNGE
S: b OK EXPUNGE completed
C: c STORE 1:2 (UNCHANGEDSINCE 3) +FLAGS (\Seen)
S: * OK [HIGHESTMODSEQ 6] ...
S: * 1 FETCH (UID 2 MODSEQ (7) FLAGS (\Flagged \Seen \Recent))
S: * 2 FETCH (UID 3 MODSEQ (4) FLAGS (\Recent))
S: c OK [MODIFIED 2] ...
C: d UID STORE 2:3 (UNCHANGEDSINCE 3) -FLAGS.SILENT (\Seen)
S: * 1 FETCH (UID 2 MODSEQ (7) FLAGS (\Flagged \Seen \Recent))
S: * 2 FETCH (UID 3 MODSEQ (4) FLAGS (\Recent))
S: d OK [MODIFIED 2:3] ...
C: e STATUS INBOX (HIGHESTMODSEQ)
S: * STATUS INBOX (HIGHESTMODSEQ 7)
S: e OK ...`},
		// RFC 7162 §3.1.3: UNCHANGEDSINCE 0 always fails, since system flags always exist.
		{"3.1.3 UNCHANGEDSINCE 0 always fails", three + `C: a STORE 1:3 (UNCHANGEDSINCE 0) FLAGS.SILENT (\Seen)
S: * OK [HIGHESTMODSEQ 4] ...
S: * 1 FETCH (UID 1 MODSEQ (2) FLAGS (\Recent))
S: * 2 FETCH (UID 2 MODSEQ (3) FLAGS (\Flagged \Recent))
S: * 3 FETCH (UID 3 MODSEQ (4) FLAGS (\Recent))
S: a OK [MODIFIED 1:3] ...
C: b SEARCH SEEN
S: * SEARCH
S: b OK ...`},
		// RFC 7162 §3.1.3, the last example: MODIFIED in NO, where other messages no longer exist; no EXPUNGE is told before the next command.
		{"3.1.3 messages that are gone", three + `-- login 2
C: a SEARCH MODSEQ 9
S: * OK [HIGHESTMODSEQ 4] ...
S: * SEARCH
S: a OK ...
C2: s SELECT INBOX
S2: * FLAGS ...
S2: * OK [PERMANENTFLAGS ...
S2: * 3 EXISTS
S2: * 0 RECENT
S2: * OK [UNSEEN ...
S2: * OK [UIDVALIDITY ...
S2: * OK [UIDNEXT ...
S2: * OK [HIGHESTMODSEQ 4] ...
S2: s OK ...
C2: a STORE 2 +FLAGS.SILENT (\Deleted)
S2: a OK ...
C2: b EXPUNGE
S2: * 2 EXPUNGE
S2: b OK ...
C2: c STORE 2 +FLAGS.SILENT (\Answered)
S2: c OK ...
C: b STORE 1:3 (UNCHANGEDSINCE 4) +FLAGS (\Seen)
S: * 3 FETCH (UID 3 MODSEQ (7) FLAGS (\Answered \Recent))
S: * 1 FETCH (UID 1 MODSEQ (8) FLAGS (\Seen \Recent))
S: b NO [MODIFIED 3] ...
C: c NOOP
S: * 2 EXPUNGE
S: c OK ...
C: d STORE 2 (UNCHANGEDSINCE 7) +FLAGS (\Seen)
S: * 2 FETCH (UID 3 MODSEQ (9) FLAGS (\Answered \Seen \Recent))
S: d OK ...`},
		// RFC 7162 §7: only one UNCHANGEDSINCE; mod-sequences have 63 bits.
		{"3.1.3 how it is written", three + `C: a STORE 1 (UNCHANGEDSINCE 4 UNCHANGEDSINCE 5) FLAGS ()
S: a BAD ...
C: b STORE 1 (UNCHANGEDSINCE) FLAGS ()
S: b BAD ...
C: c STORE 1 (CHANGEDSINCE 4) FLAGS ()
S: c BAD ...
C: d STORE 1 (UNCHANGEDSINCE 9223372036854775807) FLAGS.SILENT ()
S: * OK [HIGHESTMODSEQ 4] ...
S: * 1 FETCH (UID 1 MODSEQ (2))
S: d OK ...
C: e STORE 1 (UNCHANGEDSINCE 9223372036854775808) FLAGS ()
S: e BAD ...`},
		// RFC 7162 §3.1.4.1: only messages with a greater mod-sequence; MODSEQ is implied; \Seen is set on these alone.
		{"3.1.4.1 CHANGEDSINCE", three + `C: a FETCH 1:3 (FLAGS) (CHANGEDSINCE 3)
S: * OK [HIGHESTMODSEQ 4] ...
S: * 3 FETCH (MODSEQ (4) FLAGS (\Recent))
S: a OK ...
C: b STORE 1 +FLAGS (\Seen)
S: * 1 FETCH (UID 1 MODSEQ (5) FLAGS (\Seen \Recent))
S: b OK ...
C: c UID FETCH 1:* (FLAGS MODSEQ) (CHANGEDSINCE 3)
S: * 1 FETCH (UID 1 FLAGS (\Seen \Recent) MODSEQ (5))
S: * 3 FETCH (UID 3 FLAGS (\Recent) MODSEQ (4))
S: c OK ...
C: d FETCH 2:3 BODY[TEXT] (CHANGEDSINCE 3)
S: * 3 FETCH (MODSEQ (6) BODY[TEXT] {0}\r\n FLAGS (\Seen \Recent))
S: d OK ...
C: e FETCH 1:3 FAST (CHANGEDSINCE 6)
S: e OK ...
C: f SEARCH UNSEEN
S: * SEARCH 2
S: f OK ...
C: g FETCH 1:4 FLAGS (CHANGEDSINCE 6)
S: g BAD ...
C: h FETCH 1:3 FLAGS (CHANGEDSINCE 6 VANISHED)
S: h BAD ...
C: i FETCH 1:3 FLAGS (CHANGEDSINCE)
S: i BAD ...
C: j FETCH 1:3 UID (CHANGEDSINCE 0)
S: * 1 FETCH (MODSEQ (5) UID 1)
S: * 2 FETCH (MODSEQ (3) UID 2)
S: * 3 FETCH (MODSEQ (6) UID 3)
S: j OK ...`},
		// RFC 7162 §3.1.4.2.
		{"3.1.4.2 MODSEQ is an item of FETCH", three + `C: a FETCH 1:3 (MODSEQ)
S: * OK [HIGHESTMODSEQ 4] ...
S: * 1 FETCH (MODSEQ (2))
S: * 2 FETCH (MODSEQ (3))
S: * 3 FETCH (MODSEQ (4))
S: a OK ...
C: b UID FETCH 3 MODSEQ
S: * 3 FETCH (UID 3 MODSEQ (4))
S: b OK ...`},
		// RFC 7162 §3.1.5, §3.1.6: equal to or greater; the entry makes no difference; the highest of what is found is told.
		{"3.1.5 SEARCH for MODSEQ", three + `C: a SEARCH MODSEQ 3
S: * OK [HIGHESTMODSEQ 4] ...
S: * SEARCH 2 3 (MODSEQ 4)
S: a OK ...
C: b UID SEARCH FLAGGED MODSEQ 0
S: * SEARCH 2 (MODSEQ 3)
S: b OK ...
C: c SEARCH MODSEQ "/flags/\\draft" all 4
S: * SEARCH 3 (MODSEQ 4)
S: c OK ...
C: d SEARCH MODSEQ "/flags/$x" shared 2 NOT MODSEQ 4
S: * SEARCH 1 2 (MODSEQ 3)
S: d OK ...
C: e SEARCH OR FLAGGED MODSEQ 4
S: * SEARCH 2 3 (MODSEQ 4)
S: e OK ...
C: f SEARCH MODSEQ 5
S: * SEARCH
S: f OK ...
C: g SEARCH ALL
S: * SEARCH 1 2 3
S: g OK ...
C: h SEARCH MODSEQ "/flags/x" nobody 4
S: h BAD ...
C: i SEARCH MODSEQ
S: i BAD ...`},
		// RFC 7162 §3.1.7.
		{"3.1.7 STATUS tells what SELECT tells", three + `C: a STORE 1 +FLAGS.SILENT (\Seen)
S: a OK ...
C: b STATUS INBOX (HIGHESTMODSEQ)
S: * OK [HIGHESTMODSEQ 5] ...
S: * STATUS INBOX (HIGHESTMODSEQ 5)
S: b OK ...
C: c EXAMINE INBOX
S: * OK [CLOSED] ...
S: * FLAGS ...
S: * OK [PERMANENTFLAGS ...
S: * 3 EXISTS
S: * 0 RECENT
S: * OK [UNSEEN ...
S: * OK [UIDVALIDITY ...
S: * OK [UIDNEXT ...
S: * OK [HIGHESTMODSEQ 5] ...
S: c OK ...`},
		// RFC 7162 §3.1.8: a parameter that stands beside others that are not known is refused with them; the mailbox stays as it was.
		{"3.1.8 SELECT with QRESYNC is refused", three + `C: a SELECT Trash (CONDSTORE QRESYNC (1 2))
S: a BAD ...
C: b FETCH 1 UID
S: * 1 FETCH (UID 1)
S: b OK ...`},
		// RFC 7162 §3.1.10, RFC 4731 §3.2: of MIN and MAX alone the mod-sequence of these, otherwise the highest.
		{"3.1.10 ESEARCH", three + `C: a STORE 2 +FLAGS.SILENT (\Seen)
S: a OK ...
C: b SEARCH RETURN (MIN) MODSEQ 1
S: * OK [HIGHESTMODSEQ 5] ...
S: * ESEARCH (TAG "b") MIN 1 MODSEQ 2
S: b OK ...
C: c SEARCH RETURN (MAX) MODSEQ 1
S: * ESEARCH (TAG "c") MAX 3 MODSEQ 4
S: c OK ...
C: d UID SEARCH RETURN (MAX MIN) MODSEQ 1
S: * ESEARCH (TAG "d") UID MIN 1 MAX 3 MODSEQ 4
S: d OK ...
C: e SEARCH RETURN (MIN COUNT) MODSEQ 1
S: * ESEARCH (TAG "e") MIN 1 COUNT 3 MODSEQ 5
S: e OK ...
C: f SEARCH RETURN () MODSEQ 4
S: * ESEARCH (TAG "f") ALL 2:3 MODSEQ 5
S: f OK ...
C: g SEARCH RETURN (ALL COUNT) MODSEQ 9
S: * ESEARCH (TAG "g") COUNT 0
S: g OK ...
C: h SEARCH RETURN (SAVE) MODSEQ 5
S: h OK ...
C: i FETCH $ UID
S: * 2 FETCH (MODSEQ (5) UID 2)
S: i OK ...`},
		// RFC 7162 §3.2.7, §3.2.9: HIGHESTMODSEQ in the tagged OK where a message was expunged; §3.2.8: not in that of CLOSE.
		{"3.2.7 EXPUNGE tells HIGHESTMODSEQ", three + `C: a UID STORE 1:3 (UNCHANGEDSINCE 4) +FLAGS.SILENT (\Deleted)
S: * OK [HIGHESTMODSEQ 4] ...
S: * 1 FETCH (UID 1 MODSEQ (5))
S: * 2 FETCH (UID 2 MODSEQ (5))
S: * 3 FETCH (UID 3 MODSEQ (5))
S: a OK ...
C: b UID EXPUNGE 1
S: * 1 EXPUNGE
S: b OK [HIGHESTMODSEQ 6] ...
C: c UID EXPUNGE 1
S: c OK EXPUNGE completed
C: d MOVE 1 Trash
S: * OK [COPYUID ...
S: * 1 EXPUNGE
S: d OK [HIGHESTMODSEQ 7] ...
C: e EXPUNGE
S: * 1 EXPUNGE
S: e OK [HIGHESTMODSEQ 8] ...
C: f EXPUNGE
S: f OK EXPUNGE completed
C: g CLOSE
S: g OK CLOSE completed`},
	})
}

// Another client's change between a look at the mailbox and the change that STORE makes is told with its flags: a client that learned the
// mod-sequence alone would never ask for them (RFC 9051 §6.4.6: the flags are determinate without a race).
func TestSilentStoreThatIsOvertaken(t *testing.T) {
	for _, tc := range []struct {
		store string
		first *storepb.StoreFlags // of the other client
		want  []string
	}{
		{`STORE 1 +FLAGS.SILENT (\Seen)`, &storepb.StoreFlags{Mode: 1, Flags: uint32(store.FlagSeen | store.FlagDraft)},
			[]string{`* 1 FETCH (UID 1 MODSEQ (3) FLAGS (\Seen \Draft \Recent))`}},
		{`STORE 1 +FLAGS.SILENT (\Seen $a)`, &storepb.StoreFlags{Mode: 1, Flags: uint32(store.FlagSeen), Keywords: []string{"$a", "$b"}},
			[]string{"* FLAGS ...", `* 1 FETCH (UID 1 MODSEQ (3) FLAGS (\Seen $a $b \Recent))`}},
		// Nothing but what the client wanted came of it: it can work that out.
		{`STORE 1 +FLAGS.SILENT (\Seen)`, &storepb.StoreFlags{Mode: 1, Flags: uint32(store.FlagSeen)}, []string{`* 1 FETCH (UID 1 MODSEQ (3))`}},
		{`STORE 1 FLAGS.SILENT (\Seen)`, &storepb.StoreFlags{Flags: uint32(store.FlagDraft)}, []string{`* 1 FETCH (UID 1 MODSEQ (4))`}},
		{`STORE 1 (UNCHANGEDSINCE 2) -FLAGS.SILENT (\Seen)`, &storepb.StoreFlags{Mode: 1, Flags: uint32(store.FlagDraft)},
			[]string{`* 1 FETCH (UID 1 MODSEQ (3) FLAGS (\Draft \Recent))`}},
		// What came of both is told: the client knows the half of it alone.
		{`STORE 1 +FLAGS.SILENT (\Seen)`, &storepb.StoreFlags{Mode: 1, Flags: uint32(store.FlagDraft)},
			[]string{`* 1 FETCH (UID 1 MODSEQ (4) FLAGS (\Seen \Draft \Recent))`}},
	} {
		t.Run(tc.store, func(t *testing.T) {
			ts := startServer(t, nil)
			c := ts.login()
			c.appendMessage("INBOX", "Subject: x\r\n\r\n")
			c.ok("a SELECT INBOX (CONDSTORE)")
			ts.store.mu.Lock()
			ts.store.overtake = func() {
				op := proto.CloneOf(tc.first)
				op.Mailbox, op.Uids = ts.store.state.byName("INBOX").mb.Id, store.PackUIDs(store.UIDSet{{First: 1, Last: 1}})
				if _, err := ts.store.state.storeFlags(op); err != nil {
					t.Error(err)
				}
			}
			ts.store.mu.Unlock()
			lines := c.ok("b " + tc.store)
			if got := lines[:len(lines)-1]; len(got) != len(tc.want) {
				t.Fatalf("got %q", got)
			}
			for i, want := range tc.want {
				if !like(want, lines[i]) {
					t.Errorf("\nwant %s\ngot  %s", want, lines[i])
				}
			}
			if modified := strings.Contains(lines[len(lines)-1], "[MODIFIED 1]"); modified != strings.Contains(tc.store, "UNCHANGEDSINCE") {
				t.Errorf("the answer is %q", lines[len(lines)-1])
			}
		})
	}
}

// Another client's change between the look at what STORE shows and the look for changes is told, too.
func TestChangeRightAfterStore(t *testing.T) {
	for _, form := range []string{"FLAGS", "FLAGS.SILENT"} {
		ts := startServer(t, nil)
		c := ts.login()
		c.appendMessage("INBOX", "Subject: x\r\n\r\n")
		c.ok("a SELECT INBOX (CONDSTORE)")
		f := ts.store
		f.mu.Lock()
		looks := -1
		f.overtake = func() { looks = 0 }
		f.beforeView = func() {
			if looks < 0 {
				return
			}
			if looks++; looks == 2 {
				if _, err := f.state.storeFlags(&storepb.StoreFlags{Mailbox: f.state.byName("INBOX").mb.Id, Mode: 1, Flags: uint32(store.FlagDraft),
					Uids: store.PackUIDs(store.UIDSet{{First: 1, Last: 1}})}); err != nil {
					t.Error(err)
				}
			}
		}
		f.mu.Unlock()
		lines := c.ok("b STORE 1 +" + form + ` (\Seen)`)
		if len(lines) != 3 || !strings.Contains(lines[0], "MODSEQ (3)") || !like(`* 1 FETCH (UID 1 MODSEQ (4) FLAGS (\Seen \Draft \Recent))`, lines[1]) {
			t.Errorf("%s: %q", form, lines)
		}
	}
}

// A conditional STORE over more messages than one command of the store takes is tested message by message in each part.
func TestConditionalStoreInParts(t *testing.T) {
	n := 2*replica.PartMessages + 3
	_, b, c := crowded(t, n)
	last := replica.PartMessages + 1 // the last that is old enough; the first message has mod-sequence 2
	lines := c.ok(fmt.Sprintf(`a UID STORE 1:* (UNCHANGEDSINCE %d) +FLAGS.SILENT (\Deleted)`, last+1))
	if want := fmt.Sprintf("a OK [MODIFIED %d:%d] ", last+1, n); !strings.HasPrefix(lines[len(lines)-1], want) {
		t.Errorf("the answer is %q, want %q", lines[len(lines)-1], want)
	}
	if _, deleted := b.messages("INBOX"); int(deleted) != last {
		t.Errorf("%d messages are marked, want %d", deleted, last)
	}
	if got := holding(lines, "MODSEQ"); got != n+1 { // and HIGHESTMODSEQ
		t.Errorf("%d mod-sequences are told", got)
	}
}

// CHANGEDSINCE answers the same whether it goes by the list of changes or, where expunges made that long, by the messages.
func TestChangedSinceAfterManyExpunges(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	for range 20 {
		c.appendMessage("INBOX", "Subject: x\r\n\r\n")
	}
	c.ok("a SELECT INBOX (CONDSTORE)")
	c.ok(`b STORE 3:18 +FLAGS.SILENT (\Deleted)`)
	c.ok("c EXPUNGE")
	c.ok(`d STORE 2,4 +FLAGS.SILENT (\Seen)`)
	for since, want := range map[int]string{1: "[1 2 3 4]", 2: "[2 3 4]", 19: "[2 3 4]", 20: "[2 4]", 23: "[2 4]", 24: "[]"} {
		got := []string{}
		for _, line := range c.ok(fmt.Sprintf("e FETCH 1:* UID (CHANGEDSINCE %d)", since)) {
			if seq, ok := strings.CutPrefix(line, "* "); ok {
				got = append(got, strings.Fields(seq)[0])
			}
		}
		if fmt.Sprint(got) != want {
			t.Errorf("since %d: %v, want %s", since, got, want)
		}
		found := c.ok(fmt.Sprintf("f SEARCH MODSEQ %d", since+1))[0]
		numbers, _, _ := strings.Cut(strings.TrimPrefix(found, "* SEARCH"), " (")
		if fmt.Sprint(strings.Fields(numbers)) != want {
			t.Errorf("since %d: %s, want %s", since, found, want)
		}
	}
}
