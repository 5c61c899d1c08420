package imap

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type appended struct {
	Flags []Flag
	Date  string
	UTF8  bool
	Body  string
}

// readAppend reads a whole APPEND.
func readAppend(r *Reader) (mailbox string, out []appended, err error) {
	cmd, err := r.ReadCommand()
	if err != nil {
		return "", nil, err
	}
	mailbox = cmd.Args.(*AppendArgs).Mailbox
	for {
		msg, err := r.NextAppend()
		if err == io.EOF {
			return mailbox, out, nil
		}
		if err != nil {
			return mailbox, out, err
		}
		b, err := io.ReadAll(msg.Body)
		if err != nil {
			return mailbox, out, err
		}
		a := appended{Flags: msg.Flags, UTF8: msg.UTF8, Body: string(b)}
		if !msg.Date.IsZero() {
			a.Date = msg.Date.Format(time.RFC3339)
		}
		out = append(out, a)
	}
}

func TestAppend(t *testing.T) {
	tests := []struct {
		name, in  string
		want      []appended
		continued int
	}{
		{"plain", "a APPEND x {5}\r\nhello\r\n", []appended{{Body: "hello"}}, 1},
		{"all of it", "a APPEND \"x\" (\\Seen k) \" 1-Feb-2024 10:20:30 +0700\" {5+}\r\nhello\r\n",
			[]appended{{Flags: []Flag{FlagSeen, "k"}, Date: "2024-02-01T10:20:30+07:00", Body: "hello"}}, 0},
		{"mailbox as a literal", "a APPEND {1}\r\nx {5}\r\nhello\r\n", []appended{{Body: "hello"}}, 2},
		{"several", "a APPEND x {1+}\r\na () {2+}\r\nbb \"11-Feb-2024 10:20:30 +0000\" {0}\r\n\r\n",
			[]appended{{Body: "a"}, {Flags: []Flag{}, Body: "bb"}, {Date: "2024-02-11T10:20:30Z"}}, 1},
		{"UTF8", "a APPEND x UTF8 (~{3+}\r\nabc)\r\n", []appended{{UTF8: true, Body: "abc"}}, 0},
		{"literal8", "a APPEND x ~{3+}\r\na\x00c\r\n", []appended{{Body: "a\x00c"}}, 0},
		{"text that looks like commands", "a APPEND x {22+}\r\nz LOGOUT\r\nz LOGOUT {5}\r\n", []appended{{Body: "z LOGOUT\r\nz LOGOUT {5}"}}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, continued := wire(tt.in+"z NOOP\r\n", Limits{})
			mailbox, got, err := readAppend(r)
			if err != nil || mailbox != "x" {
				t.Fatalf("mailbox %q, %v", mailbox, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if *continued != tt.continued {
				t.Errorf("continued %d times, want %d", *continued, tt.continued)
			}
			if cmd, err := r.ReadCommand(); err != nil || cmd.Tag != "z" {
				t.Errorf("next command: %+v, %v", cmd, err)
			}
		})
	}
}

func TestAppendRefusedByTheServer(t *testing.T) {
	const rest = "z NOOP\r\n"
	for name, in := range map[string]string{
		"awaited":                 "a APPEND x {22}\r\n",
		"at once":                 "a APPEND x {10+}\r\nz LOGOUT\r\n\r\n",
		"at once, several":        "a APPEND x {10+}\r\nz LOGOUT\r\n () {10+}\r\nz LOGOUT\r\n\r\n",
		"at once, then awaited":   "a APPEND x {10+}\r\nz LOGOUT\r\n {22}\r\n",
		"at once, then nonsense":  "a APPEND x {10+}\r\nz LOGOUT\r\n nonsense {10+}\r\nz LOGOUT\r\n\r\n",
		"at once, then too large": "a APPEND x {10+}\r\nz LOGOUT\r\n {9999999}\r\n",
	} {
		for _, readBytes := range []int64{-1, 0, 3} {
			r, continued := wire(in+rest, Limits{})
			if _, err := r.ReadCommand(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if readBytes >= 0 {
				msg, err := r.NextAppend()
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if !strings.Contains(name, "awaited") || name != "awaited" {
					_, _ = io.CopyN(io.Discard, msg.Body, readBytes)
				}
			}
			if cmd, err := r.ReadCommand(); err != nil || cmd.Name != "NOOP" {
				t.Errorf("%s, %d bytes read: next command: %+v, %v", name, readBytes, cmd, err)
			}
			if *continued != 0 {
				t.Errorf("%s: continued", name)
			}
		}
	}
}

// TestAppendAbandonedAfterTheContinuation: the client was asked for its literal, so that it comes and must be drained.
func TestAppendAbandonedAfterTheContinuation(t *testing.T) {
	r, continued := wire("a APPEND x {10}\r\nz LOGOUT\r\n\r\nz NOOP\r\n", Limits{})
	if _, err := r.ReadCommand(); err != nil {
		t.Fatal(err)
	}
	msg, err := r.NextAppend()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := msg.Body.Read(make([]byte, 1)); n != 1 || err != nil || *continued != 1 {
		t.Fatalf("%d bytes, %v, continued %d", n, err, *continued)
	}
	if cmd, err := r.ReadCommand(); err != nil || cmd.Name != "NOOP" {
		t.Errorf("next command: %+v, %v", cmd, err)
	}
	if _, err := msg.Body.Read(make([]byte, 1)); err != io.ErrClosedPipe {
		t.Errorf("reading on: %v", err)
	}
}

func TestAppendSecondMessageBad(t *testing.T) {
	for in, code := range map[string]Code{
		"a APPEND x {1+}\r\na (\\Frob) {10+}\r\nz LOGOUT\r\n\r\n": "",
		"a APPEND x {1+}\r\na {5000}\r\n":                         CodeTooBig,
		"a APPEND x {1+}\r\na x\r\n":                              "",
		"a APPEND x UTF8 (~{1+}\r\na\r\n":                         "",
	} {
		r, _ := wire(in+"z NOOP\r\n", Limits{AppendBytes: 100})
		_, _, err := readAppend(r)
		var syntax *SyntaxError
		var refused *RefusedError
		switch {
		case errors.As(err, &syntax) && code == "" && syntax.Tag == "a":
		case errors.As(err, &refused) && code == refused.Code && refused.Tag == "a":
		default:
			t.Errorf("%q: %v", in, err)
		}
		if _, err := r.NextAppend(); err != io.EOF {
			t.Errorf("%q: another message: %v", in, err)
		}
		if cmd, err := r.ReadCommand(); err != nil || cmd.Name != "NOOP" {
			t.Errorf("%q: next command: %+v, %v", in, cmd, err)
		}
	}
}

func TestReadLine(t *testing.T) {
	r, _ := wire("a IDLE\r\nDONE\r\nb AUTHENTICATE PLAIN\r\n*\r\nz NOOP\r\n", Limits{})
	if cmd, err := r.ReadCommand(); err != nil || cmd.Name != "IDLE" {
		t.Fatal(cmd, err)
	}
	if line, err := r.ReadLine(); line != "DONE" || err != nil {
		t.Fatal(line, err)
	}
	if cmd, err := r.ReadCommand(); err != nil || cmd.Name != "AUTHENTICATE" {
		t.Fatal(cmd, err)
	}
	if line, err := r.ReadLine(); line != "*" || err != nil {
		t.Fatal(line, err)
	}
	if cmd, err := r.ReadCommand(); err != nil || cmd.Name != "NOOP" || r.Buffered() != 0 {
		t.Fatal(cmd, err, r.Buffered())
	}
}
