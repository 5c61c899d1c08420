package imapd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// FuzzSession plays a client that says anything once it has logged in. Nothing it says makes the session panic; each line of the answer
// is a response, and the text of a message is never one that begins a line; no tag is answered that the client did not send.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"a SELECT INBOX\r\nb FETCH 1:* (FLAGS UID ENVELOPE BODYSTRUCTURE BODY[] BODY[1.MIME] BODY[HEADER.FIELDS (A)]<1.2>)\r\n",
		"a APPEND INBOX (\\Seen x) {10}\r\nA: b\r\n\r\nc\r\n\r\nb SELECT INBOX\r\nc STORE 1:* +FLAGS (\\Deleted)\r\nd EXPUNGE\r\ne CLOSE\r\n",
		"a EXAMINE INBOX\r\nb UID SEARCH OR TEXT {3+}\r\nabc NOT (SEEN 1:*)\r\nc UID FETCH * FULL\r\n",
		"a SELECT INBOX\r\nb COPY 1 Trash\r\nc MOVE 1:* Sent\r\nd UID EXPUNGE 1:*\r\ne IDLE\r\nDONE\r\n",
		"a CREATE a/&Hs0-\r\nb RENAME a b\r\nc LIST \"\" %\r\nd LSUB \"\" *\r\ne DELETE b\r\nf SUBSCRIBE x\r\ng RENAME INBOX z\r\n",
		"a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (INBOX *) RETURN (CHILDREN STATUS (MESSAGES RECENT SIZE DELETED-STORAGE MAILBOXID))\r\n",
		"a ENABLE UTF8=ACCEPT\r\nb APPEND INBOX UTF8 (~{5+}\r\nA: b\n)\r\nc SELECT INBOX\r\nd FETCH 1 BINARY[]<1.2>\r\n",
		"a SELECT INBOX\r\nb SEARCH RETURN (SAVE MIN COUNT) ALL\r\nc FETCH $ (BINARY.SIZE[1] PREVIEW RFC822)\r\nd STORE $ FLAGS ()\r\n",
		"a SELECT INBOX (CONDSTORE)\r\nb STORE 1 (UNCHANGEDSINCE 1) +FLAGS.SILENT (x)\r\nc FETCH 1:* FLAGS (CHANGEDSINCE 1)\r\nd SEARCH RETURN (MAX) MODSEQ 2\r\n",
		"a STARTTLS\r\nb CAPABILITY\r\nc ID (\"a\" \"b\")\r\nd NAMESPACE\r\ne STATUS INBOX (UIDNEXT)\r\nf LOGOUT\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, faults := converse(t, in)
		if faults != "" {
			t.Fatalf("%q: %s", in, faults)
		}
		for _, line := range out {
			word, rest, _ := strings.Cut(line, " ")
			ok := word == "*" || word == "+" || strings.HasPrefix(rest, "OK ") || strings.HasPrefix(rest, "NO ") || strings.HasPrefix(rest, "BAD ")
			if !ok || word != "*" && word != "+" && word != "l" && !strings.Contains(string(in), word) {
				t.Fatalf("%q is answered with the line %q", in, line)
			}
		}
	})
}

// spoken is a connection whose client has said all that it will say.
type spoken struct {
	net.Conn // nothing of it is called but what is below
	in       *bytes.Reader
	out      bytes.Buffer
}

func (s *spoken) Read(b []byte) (int, error)       { return s.in.Read(b) }
func (s *spoken) Write(b []byte) (int, error)      { return s.out.Write(b) }
func (s *spoken) Close() error                     { return nil }
func (s *spoken) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (s *spoken) SetDeadline(time.Time) error      { return nil }
func (s *spoken) SetReadDeadline(time.Time) error  { return nil }
func (s *spoken) SetWriteDeadline(time.Time) error { return nil }

// converse sends in after a login and returns the lines of the answer, literals cut out, and what was logged as an error.
func converse(t *testing.T, in []byte) (lines []string, faults string) {
	var log bytes.Buffer
	srv, err := New(Config{Hostname: "mail.example.test", AllowPlainAuth: true, Store: newFakeStore(), Auth: AuthFunc(allowAnyone), Limits: Limits{MessageBytes: 2000},
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		t.Fatal(err)
	}
	const message = "From: a@example.test\r\nSubject: * BYE\r\n\r\nx BAD\r\n* BYE\r\n"
	begin := fmt.Sprintf("l LOGIN a b\r\nl APPEND INBOX {%d+}\r\n%s\r\n", len(message), message)
	said := &spoken{in: bytes.NewReader(append([]byte(begin), in...))}
	newConn(srv, said).serve(t.Context(), t.Context(), t.Context())

	out := bufio.NewReader(&said.out)
	for {
		line, err := out.ReadString('\n')
		for n, ok := literalSize(line); ok && err == nil; n, ok = literalSize(line) {
			var rest string
			if _, err = io.CopyN(io.Discard, out, n); err == nil {
				rest, err = out.ReadString('\n')
			}
			line = strings.TrimRight(line, "\r\n}") + rest
		}
		if err == io.EOF && line == "" {
			return lines, log.String()
		}
		if err != nil || !strings.HasSuffix(line, "\r\n") {
			t.Fatalf("%q is answered %q, %v", in, line, err)
		}
		lines = append(lines, strings.TrimRight(line, "\r\n"))
	}
}

// literalSize is the size of the literal that the line announces.
func literalSize(line string) (int64, bool) {
	text, ok := strings.CutSuffix(line, "}\r\n")
	open := strings.LastIndexByte(text, '{')
	if !ok || open < 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(text[open+1:], 10, 64)
	return n, err == nil
}

func allowAnyone(context.Context, netip.Addr, string, string) (Identity, error) {
	return Identity{Account: fakeAccount, Address: "a"}, nil
}
