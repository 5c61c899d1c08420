package imapd

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/store/storepb"
)

const benchMessages = 2000

// benchServer has a mailbox of messages of 20 KiB.
func benchServer(b *testing.B) *Server {
	fs := newFakeStore()
	for i := range benchMessages {
		raw := fmt.Sprintf("From: Sender %d <s%d@example.test>\r\nTo: an@example.test\r\nSubject: message %d\r\nDate: Tue, 3 Mar 2026 23:30:00 +0700\r\n"+
			"Message-ID: <%d@example.test>\r\nX-Other: y\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n%s\r\n--b--\r\n", i, i, i, i,
			strings.Repeat("The quick brown fox jumps over the lazy dog\r\n", 450))
		sum := mime.NewSummarizer()
		_, _ = io.WriteString(sum, raw) // never fails
		body := &fakeBody{}
		_, _ = body.WriteString(raw)
		_, err := fs.AddMessage(b.Context(), body, &storepb.AddMessage{Summary: sum.Summary().Marshal(),
			Targets: []*storepb.Target{{Account: uint64(fakeAccount), Mailbox: fs.state.byName("INBOX").mb.Id}}})
		if err != nil {
			b.Fatal(err)
		}
	}
	srv, err := New(Config{Hostname: "x", AllowPlainAuth: true, Store: fs, Auth: AuthFunc(allowAnyone), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	return srv
}

func benchCommand(b *testing.B, srv *Server, command string) {
	b.ReportAllocs()
	for b.Loop() {
		said := &spoken{in: bytes.NewReader([]byte("l LOGIN a b\r\ns EXAMINE INBOX\r\nc " + command + "\r\n"))}
		newConn(srv, said).serve(b.Context(), b.Context(), b.Context())
		if !strings.Contains(said.out.String(), "c OK ") {
			b.Fatal("the command failed")
		}
	}
	b.ReportMetric(float64(b.N)*benchMessages/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkFetch compares what a client asks to show a list: from the stored summaries, and, for a field that they do not keep, from the bodies.
func BenchmarkFetch(b *testing.B) {
	srv := benchServer(b)
	for _, bb := range []struct{ name, command string }{
		{"flags", "FETCH 1:* (UID FLAGS)"},
		{"envelope", "FETCH 1:* (UID FLAGS ENVELOPE RFC822.SIZE)"},
		{"kept fields", "FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)])"},
		{"other fields", "FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE X-OTHER)])"},
		{"structure", "FETCH 1:* (UID BODYSTRUCTURE)"},
	} {
		b.Run(bb.name, func(b *testing.B) { benchCommand(b, srv, bb.command) })
	}
}

// BenchmarkSearch compares the costs of search keys: the mailbox's entry, the summary, the body.
func BenchmarkSearch(b *testing.B) {
	srv := benchServer(b)
	for _, bb := range []struct{ name, command string }{
		{"flag", "SEARCH UNSEEN"},
		{"subject", "SEARCH SUBJECT absent"},
		{"body", "SEARCH BODY absent"},
		{"flag and body", "SEARCH BODY absent SEEN"}, // the cheap key first: no body is opened
	} {
		b.Run(bb.name, func(b *testing.B) { benchCommand(b, srv, bb.command) })
	}
}
