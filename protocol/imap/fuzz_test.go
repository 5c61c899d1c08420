package imap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// transcript drives a Reader as a session does, and writes down what it yields.
func transcript(r io.Reader) string {
	var out strings.Builder
	reader := NewReader(r, ReaderConfig{Limits: Limits{LineBytes: 500, AppendBytes: 100, LiteralBytes: 50, DrainBytes: 300}, Continue: func() error {
		out.WriteString("+\n")
		return nil
	}})
	for n := 0; ; n++ {
		cmd, err := reader.ReadCommand()
		if err != nil {
			fmt.Fprintf(&out, "error %v\n", err)
			if !errors.As(err, new(*SyntaxError)) && !errors.As(err, new(*RefusedError)) {
				return out.String()
			}
			continue
		}
		fmt.Fprintf(&out, "%s %s %v %+v\n", cmd.Tag, cmd.Name, cmd.UID, cmd.Args)
		switch cmd.Name {
		case "IDLE", "AUTHENTICATE":
			line, err := reader.ReadLine()
			fmt.Fprintf(&out, "line %q %v\n", line, err)
		case "APPEND":
			for {
				msg, err := reader.NextAppend()
				if err != nil {
					fmt.Fprintf(&out, "end %v\n", err)
					break
				}
				limit := int64(100)
				if n%2 == 1 { // every second one is given up half-way
					limit = msg.Size / 2
				}
				body, err := io.ReadAll(io.LimitReader(msg.Body, limit))
				fmt.Fprintf(&out, "message %v %d %q %v\n", msg.Flags, msg.Size, body, err)
			}
		}
	}
}

// FuzzStream checks that it makes no difference in which pieces a client's bytes arrive: what is text of a message in one is never a
// command in another.
func FuzzStream(f *testing.F) {
	for _, s := range []string{
		"a LOGIN {3}\r\nabc {3+}\r\nd\r\n\r\nb NOOP\r\n", "a APPEND x {5}\r\nhello\r\nb NOOP\r\n", "a APPEND x {5+}\r\nhello {2+}\r\nab\r\nc NOOP\r\n",
		"a IDLE\r\nDONE\r\nb APPEND {1}\r\nx {4}\r\nabcd\r\nc APPEND x {4+}\r\nab\r\n\r\n", "a AUTHENTICATE PLAIN\r\nAGEAYg==\r\n", "a FROB {9+}\r\nb LOGOUT\r\n\r\n",
		"a APPEND x {101+}\r\nb NOOP\r\n", "a X {60}\r\nb NOOP\r\n", "a LOGIN \"{3}\r\nb NOOP\r\n", "a NOOP\nb NOOP\n", "a LOGIN \"x\ny\"\r\n", "\r\n\r\n",
		"a SEARCH TEXT ~{2}\r\nxx\r\n", "a APPEND x UTF8 (~{2+}\r\nxx)\r\nb NOOP\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := transcript(bytes.NewReader(in))
		if single := transcript(iotest.OneByteReader(bytes.NewReader(in))); single != whole {
			t.Fatalf("%q\nat once:\n%s\nby bytes:\n%s", in, whole, single)
		}
		if n := strings.Count(whole, "\n"); n > 4*len(in)+2 {
			t.Fatalf("%q yields %d lines", in, n)
		}
	})
}

// FuzzMailboxName: RFC 3501 §5.1.3. Each name has one spelling, and comes back from it.
func FuzzMailboxName(f *testing.F) {
	for _, s := range []string{"INBOX", "~peter/mail/&U,BTFw-/&ZeVnLIqe-", "&Jjo-!", "&AGE-", "&-", "&", "&&-", "&2D8-", "Họp", "&Hs0-p", "&ANg-&ANg-", "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if utf8.ValidString(s) && !strings.ContainsRune(s, utf8.RuneError) {
			wire := EncodeMailbox(s)
			if strings.IndexFunc(wire, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
				t.Fatalf("%q is written %q", s, wire)
			}
			if back, err := DecodeMailbox(wire); err != nil || back != s {
				t.Fatalf("%q is written %q, which is read %q, %v", s, wire, back, err)
			}
		}
		name, err := DecodeMailbox(s)
		if err != nil || !isPrintable(s) {
			return
		}
		if again := EncodeMailbox(name); again != s {
			t.Fatalf("%q and %q are both %q", s, again, name)
		}
	})
}

// FuzzMatchPattern compares MatchPattern with a regular expression that says the same.
func FuzzMatchPattern(f *testing.F) {
	for _, s := range [][2]string{{"*", "a/b"}, {"%", "a/b"}, {"a%/%b*", "ax/yb/c"}, {"inbox", "INBOX"}, {"", ""}, {"%%**", "x"}, {"a.b", "axb"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 30 || len(name) > 100 || !utf8.ValidString(pattern) || !utf8.ValidString(name) {
			return
		}
		expr := strings.NewReplacer(`\*`, `.*`, `%`, `[^/]*`).Replace(regexp.QuoteMeta(pattern))
		want := regexp.MustCompile(`^(?s:`+expr+`)$`).MatchString(name) || strings.EqualFold(pattern, "INBOX") && strings.EqualFold(name, "INBOX")
		if got := MatchPattern(pattern, name, '/'); got != want {
			t.Fatalf("%q of %q: %v, want %v", pattern, name, got, want)
		}
	})
}

// FuzzNumSet: what a set says stays the same when it is written and read again, and Resolve agrees with Contains.
func FuzzNumSet(f *testing.F) {
	for _, s := range []string{"1", "*", "1:*", "*:1", "3,1:2", "4294967295", "1:4294967295,5", "$", "0", "1,", "5:3,4"} {
		f.Add(s, uint32(7))
	}
	f.Fuzz(func(t *testing.T, s string, largest uint32) {
		set, err := ParseNumSet(s)
		if err != nil || set.Saved {
			return
		}
		again, err := ParseNumSet(set.String())
		if err != nil || again.String() != set.String() {
			t.Fatalf("%q: %q, then %q, %v", s, set, again, err)
		}
		ranges := set.Resolve(largest)
		for i, r := range ranges {
			if r.First > r.Last || i > 0 && uint64(ranges[i-1].Last)+1 >= uint64(r.First) {
				t.Fatalf("%q of %d: %v", s, largest, ranges)
			}
			for _, n := range []uint32{r.First, r.Last} {
				if !set.Contains(n, largest) {
					t.Fatalf("%q of %d resolves to %v, and %d is not in it", s, largest, ranges, n)
				}
			}
			if n := r.Last; n < 1<<32-1 && set.Contains(n+1, largest) {
				t.Fatalf("%q of %d resolves to %v, and %d is in it", s, largest, ranges, n+1)
			}
		}
	})
}

// FuzzStrings: what the Writer writes as a string is read as that string (RFC 9051 §4.3), whatever is in it, and nothing of it ends up outside.
func FuzzStrings(f *testing.F) {
	for _, s := range []string{"", "x", `a"b\c`, "line\r\nb LOGOUT", "bình", "\xff", "nul\x00", "{3}", "NIL", "a b", strings.Repeat("x", maxQuoted+1)} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, utf8 bool) {
		var out bytes.Buffer
		w := NewWriter(&out)
		w.SetUTF8(utf8)
		w.Open()
		w.String(s)
		w.AString(s)
		w.Status("", StatusOK, Code("X "+s), s)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		p := &parser{b: out.Bytes(), maxDepth: 1}
		p.open()
		first := p.str()
		p.sp()
		second := p.astring()
		want := s
		if !(&Writer{utf8: utf8}).quotable(s) {
			want = strings.ReplaceAll(s, "\x00", "") // RFC 9051 §9: there is no NUL in CHAR8
		}
		if p.err != nil || first != want || second != want {
			t.Fatalf("%q is written %q, which reads %q and %q: %v", s, out.Bytes(), first, second, p.err)
		}
		if rest := out.Bytes()[p.i:]; bytes.Count(rest, []byte("\n")) != 1 || !bytes.HasSuffix(rest, []byte("\r\n")) {
			t.Fatalf("a status of %q is written %q", s, rest)
		}
	})
}
