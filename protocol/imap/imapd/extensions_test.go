package imapd

import (
	"strings"
	"testing"
)

// What the extensions add to RFC 3501, a sentence each.
func TestExtensions(t *testing.T) {
	checkSentences(t, []sentence{
		// RFC 2177 §3.
		{"RFC 2177 IDLE ends with DONE, in any case, and tells news", three + `-- login 2
C: a IDLE
S: + idling
C2: b APPEND INBOX {14+}
C2: Subject: D
C2: 
C2: 
S2: b OK ...
S: * 4 EXISTS
S: * 4 RECENT
C: done
S: a OK ...
C: c FETCH 4 UID
S: * 4 FETCH (UID 4)
S: c OK ...`},
		// RFC 2971 §3.1: ID in any state.
		{"RFC 2971 ID", `C: a ID ("name" "test" "version" NIL)
S: * OK ...
S: * ID ("name" "Quorumail")
S: a OK ...
C: b ID ()
S: * ID ...
S: b OK ...
C: c ID
S: c BAD ...`},
		// RFC 3691 §2.
		{"RFC 3691 UNSELECT expunges nothing", three + `C: a STORE 1 +FLAGS.SILENT (\Deleted)
S: a OK ...
C: b UNSELECT
S: b OK ...
C: c STATUS INBOX (MESSAGES DELETED)
S: * STATUS INBOX (MESSAGES 3 DELETED 1)
S: c OK ...
C: d UNSELECT
S: d BAD ...`},
		// RFC 4315 §2.1, §3.
		{"RFC 4315 UID EXPUNGE removes what is in the set and deleted", three + `C: a STORE 1:2 +FLAGS.SILENT (\Deleted)
S: a OK ...
C: b UID EXPUNGE 2:9
S: * 2 EXPUNGE
S: b OK ...
C: c UID EXPUNGE 3
S: c OK ...
C: d UID EXPUNGE
S: d BAD ...
C: e FETCH 1:2 UID
S: * 1 FETCH (UID 1)
S: * 2 FETCH (UID 3)
S: e OK ...`},
		{"RFC 4315 COPYUID pairs sources and copies", three + `C: a COPY 3,1 Trash
S: a OK [COPYUID 1004 1,3 1:2] ...
C: b UID COPY 3 Trash
S: b OK [COPYUID 1004 3 3] ...`},
		// RFC 4731 §3.1; RFC 5182 §2.1.
		{"RFC 4731 ESEARCH", three + `C: a UID SEARCH RETURN (MIN MAX ALL COUNT) NOT FLAGGED
S: * ESEARCH (TAG "a") UID MIN 1 MAX 3 ALL 1,3 COUNT 2
S: a OK ...
C: b SEARCH RETURN () SEEN
S: * ESEARCH (TAG "b")
S: b OK ...
C: c SEARCH RETURN (COUNT) SEEN
S: * ESEARCH (TAG "c") COUNT 0
S: c OK ...
C: d SEARCH RETURN (SAVE) FLAGGED
S: d OK ...
C: e FETCH $ UID
S: * 2 FETCH (UID 2)
S: e OK ...`},
		// RFC 4959 §3.
		{"RFC 4959 an empty initial response is a response", `C: a AUTHENTICATE PLAIN =
S: * OK ...
S: a BAD ...
C: b AUTHENTICATE PLAIN !!!
S: b BAD ...
C: c AUTHENTICATE SCRAM-SHA-1
S: c NO ...`},
		// RFC 3516 §4.2, §4.3; RFC 3501 §9: CHAR8 has no NUL.
		{"RFC 3516 NUL goes out in BINARY alone", `-- login
C: a APPEND INBOX ~{16+}
C: Subject: A
C: 
C: a` + "\x00" + `
S: a OK ...
` + selectINBOX + `C: b FETCH 1 (BODY.PEEK[TEXT] BINARY.PEEK[1] BINARY.SIZE[1])
S: * 1 FETCH (BODY[TEXT] {2}\r\na` + "\x80" + ` BINARY[1] ~{2}\r\na` + "\x00" + ` BINARY.SIZE[1] 2)
S: b OK ...
C: c FETCH 1 BINARY[7]
S: c NO [UNKNOWN-CTE] ...`},
		// RFC 5161 §3.1.
		{"RFC 5161 ENABLE tells what is new", `-- login
C: a ENABLE UTF8=ACCEPT X-Y
S: * ENABLED UTF8=ACCEPT
S: a OK ...
C: b ENABLE UTF8=ACCEPT
S: * ENABLED
S: b OK ...`},
		// RFC 5258 §3.1, §3.2, §3.5.
		{"RFC 5258 LIST-EXTENDED", `-- login
C: a CREATE foo/bar
S: a OK ...
C: b SUBSCRIBE foo/bar
S: b OK ...
C: c LIST (SUBSCRIBED RECURSIVEMATCH) "" f%
S: * LIST (\HasChildren) "/" foo ("CHILDINFO" ("SUBSCRIBED"))
S: c OK ...
C: d LIST (RECURSIVEMATCH) "" *
S: d BAD ...
C: e LIST "" (foo f*r) RETURN (CHILDREN SUBSCRIBED)
S: * LIST (\HasChildren) "/" foo
S: * LIST (\Subscribed \HasNoChildren) "/" foo/bar
S: e OK ...`},
		// RFC 6154 §2, §3, §5.2.
		{"RFC 6154 special uses", `-- login
C: a CREATE spam (USE (\Junk))
S: a OK ...
C: b CREATE everything (USE (\All))
S: b NO [USEATTR] ...
C: c LIST (SPECIAL-USE) "" s*
S: * LIST (\HasNoChildren \Junk) "/" spam
S: c OK ...`},
		// RFC 6851 §3.1, §3.3, §4.3.
		{"RFC 6851 MOVE", three + `C: a MOVE 1:2 nothing
S: a NO [TRYCREATE] ...
C: b MOVE 1:2 Trash
S: * OK [COPYUID 1004 1:2 1:2] ...
S: * 2 EXPUNGE
S: * 1 EXPUNGE
S: b OK ...
C: c UID MOVE 99 Trash
S: c OK ...
C: d UID MOVE 3 Trash
S: * OK [COPYUID 1004 3 3] ...
S: * 1 EXPUNGE
S: d OK ...
C: e STATUS Trash (MESSAGES)
S: * STATUS Trash (MESSAGES 3)
S: e OK ...`},
		// RFC 6855 §3.
		{"RFC 6855 UTF8=ACCEPT", `-- login
C: a ENABLE UTF8=ACCEPT
S: * ENABLED UTF8=ACCEPT
S: a OK ...
C: b CREATE "Họp"
S: b OK ...
C: c LIST "" H%
S: * LIST (\HasNoChildren) "/" "Họp"
S: c OK ...
C: d SELECT INBOX
S: * FLAGS ...
S: * OK [PERMANENTFLAGS ...
S: * 0 EXISTS
S: * 0 RECENT
S: * OK [UIDVALIDITY ...
S: * OK [UIDNEXT ...
S: * OK [HIGHESTMODSEQ ...
S: d OK ...
C: e SEARCH CHARSET UTF-8 TEXT x
S: e BAD ...
C: f SEARCH TEXT "họp"
S: * SEARCH
S: f OK ...`},
		// RFC 7888 §3, §4.
		{"RFC 7888 non-synchronising literals", `C: a LOGIN {15+}
C: an@example.test {6+}
C: secret
S: * OK ...
S: a OK ...
C: b CREATE {100000+}
S: * BYE ...
S: EOF`},
		// RFC 7889 §3.1, §4.
		{"RFC 7889 APPENDLIMIT", `-- login
C: a CAPABILITY
S: * CAPABILITY ...APPENDLIMIT=52428800
S: a OK ...
C: b STATUS INBOX (APPENDLIMIT)
S: * STATUS INBOX (APPENDLIMIT 52428800)
S: b OK ...
C: c APPEND INBOX {52428801}
S: c NO [TOOBIG] ...`},
		// RFC 8438 §3.
		{"RFC 8438 STATUS=SIZE", three + `C: a STATUS INBOX (SIZE)
S: * STATUS INBOX (SIZE 42)
S: a OK ...`},
	})
}

// Nothing is advertised that is not there, and what only is there in part is not advertised.
func TestCapabilitiesAreCommands(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	line := c.ok("a CAPABILITY")[0]
	for _, no := range []string{"SORT", "THREAD", "QRESYNC", "COMPRESS", "IMAP4rev2", "QUOTA", "MULTIAPPEND", "CONTEXT", "CATENATE", "LITERAL-", "STARTTLS", "AUTH=", "LOGINDISABLED"} {
		if strings.Contains(line, no) {
			t.Errorf("%s offers %s", line, no)
		}
	}
	for _, cmd := range []string{"SORT (DATE) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL", "COMPRESS DEFLATE", "GETQUOTA \"\"", "UNAUTHENTICATE", "XLIST \"\" *", "SELECT INBOX (QRESYNC (1 2))", "SELECT INBOX (CONDSTORE QRESYNC (1 2))", "ENABLE"} {
		lines := c.do("b " + cmd)
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "b BAD") {
			t.Errorf("%s: %s", cmd, last)
		}
	}
}
