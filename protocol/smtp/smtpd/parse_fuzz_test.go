package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/protocol/mime"
)

// FuzzHead reads any header section: what is written again is what was read, but for what makes its first line one of its own; and IMAP, which
// reads what is written, below fields of ours, finds the same fields.
func FuzzHead(f *testing.F) {
	for _, s := range []string{"a: b\r\n\r\nx", "a: b\r\n c\r\nB : d\r\n\r\n", "\r\n", "", "no field\r\n", " x: y\r\n", "a:\r\n\tb\r\n", ": x\r\n", "a: b", "A: 1\r\na: 2\r\nFrom: x\r\n\r\n",
		"a: b\r\nno field\r\nFrom: x\r\n\r\n", "From x\r\na: b\r\n\r\n", " x\r\na: b\r\n\r\n"} {
		f.Add([]byte(s), 1000)
		f.Add([]byte(s), 5)
	}
	f.Fuzz(func(t *testing.T, raw []byte, limit int) {
		limit = max(1, limit%100_000)
		r := bufio.NewReaderSize(bytes.NewReader(raw), 16)
		h, err := readHead(r, limit)
		if err != nil && !errors.Is(err, errHeaderSize) {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := h.writeTo(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&out, r); err != nil {
			t.Fatal(err)
		}
		written := out.Bytes()
		if same := bytes.TrimPrefix(written, []byte("\r\n")); !bytes.Equal(written, raw) && !bytes.Equal(same, raw) {
			t.Fatalf("%q is written as %q", raw, written)
		}
		whole := bytes.HasSuffix(h.raw, []byte("\n")) && len(h.rest) > 0
		if !whole && len(h.raw) > 0 || !bytes.Equal(bytes.ReplaceAll(raw, []byte("\r\n"), nil), bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("\r"), nil), []byte("\n"), nil)) {
			return // it has no end, or line ends that lineEnds lets nobody have
		}
		shown := mime.ParseHeader(append([]byte("Received: x\r\n"), written...))
		for name := range h.fields() {
			if got := len(h.values(name)); name != "" && !strings.EqualFold(name, "received") && (got != len(shown.Values(name)) || got != h.count(name)) {
				t.Fatalf("%q has %d fields %q here, and %d for IMAP", written, got, name, len(shown.Values(name)))
			}
		}
		if len(shown) > 1 {
			h.replace(shown[1].Name, "")
			if n := h.count(shown[1].Name); n != 0 {
				t.Fatalf("%d fields %q are left", n, shown[1].Name)
			}
		}
	})
}

// FuzzSenders reads any From: it finds addresses that can be parsed again, or says what is wrong in one line.
func FuzzSenders(f *testing.F) {
	for _, s := range []string{"a@b.example", "A <a@b.example>, b@c.example", `"a b"@c.example`, "g: a@b.example;", "g:;", "=?x?q?a?= <a@b>", "<>", "a@b (c", "\"@\"@x", "a@[192.0.2.1]"} {
		f.Add(s, "")
		f.Add("x@y.example", s)
	}
	f.Fuzz(func(t *testing.T, from, sender string) {
		if strings.ContainsAny(from+sender, "\r\n") {
			return // it would be several fields
		}
		h := &head{raw: []byte("From: " + from + "\r\n")}
		if sender != "" {
			h.raw = append(h.raw, "Sender: "+sender+"\r\n"...)
		}
		list, err := senders(h)
		if err != nil {
			if text := replyTo(err).Message; strings.ContainsAny(text, "\r\n\x00") {
				t.Fatalf("%q is answered %q", from, text)
			}
			return
		}
		if len(list) == 0 {
			t.Fatalf("%q names nobody, and is taken", from)
		}
		for _, a := range list {
			if a.Domain == "" || strings.ContainsAny(a.String(), "\r\n\x00") {
				t.Fatalf("%q leads to %q", from, a)
			}
		}
	})
}

// FuzzCommandLine hands any line to the wire: the library sees at most one line of it, which ends with CRLF and holds no control characters.
func FuzzCommandLine(f *testing.F) {
	for _, s := range []string{"MAIL FROM:<a@b> BODY=BINARYMIME SIZE=99999999999", "RCPT TO:<\"a\\\" b\"@c> NOTIFY=NEVER", "BDAT 5 LAST", "EHLO \x7f", "VRFY", "mail from:<@a,@b:c@d>\tX=1",
		"STARTTLS x", "HELP me", "NOOP \xff", "SIZE", "RCPT TO:<postmaster>"} {
		f.Add(s)
	}
	srv, err := New(Config{Mode: MX, Hostname: "mx.example.test", Store: &fakeStore{}, Resolver: &fakeDirectory{}, NewSummarizer: func() Summarizer { return &fakeSummary{} }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line string) {
		conn := &spoken{in: bytes.NewReader([]byte(line + "\r\n")), closed: make(chan struct{})}
		w := newWire(srv, t.Context(), conn)
		s := &side{wire: w}
		w.current = s
		if err := w.readCommand(s); err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("%q: %v", line, err)
		}
		if shown := string(w.pending); shown != "" && !strings.HasPrefix(shown, "DATA\r\n") {
			if strings.Count(shown, "\n") != 1 || !strings.HasSuffix(shown, "\r\n") || strings.ContainsAny(strings.ReplaceAll(shown[:len(shown)-2], "\t", ""), "\x00\r\x7f") {
				t.Fatalf("%q is shown as %q", line, shown)
			}
		}
		_ = w.flush()
		for _, reply := range strings.SplitAfter(conn.out.String(), "\r\n") {
			if reply != "" && (len(reply) < 6 || !strings.HasSuffix(reply, "\r\n")) {
				t.Fatalf("%q is answered %q", line, reply)
			}
		}
	})
}
