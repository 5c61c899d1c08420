package remote

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// readFrom reads one reply from what a server sends.
func readFrom(t *testing.T, sent string, limits Limits) (reply, error) {
	t.Helper()
	limits.defaults()
	client, server := net.Pipe()
	go func() {
		io.WriteString(server, sent)
		server.Close()
	}()
	defer client.Close()
	return newWire(client, &limits, time.Second).read(time.Second)
}

func TestReplies(t *testing.T) {
	for sent, want := range map[string]reply{
		"250 ok\r\n":                             {code: 250, enhanced: "2.0.0", text: "ok"},
		"250\r\n":                                {code: 250, enhanced: "2.0.0"},
		"250 2.1.5\r\n":                          {code: 250, enhanced: "2.1.5"},
		"550-5.1.1 a\r\n550 5.1.1 b\r\n":         {code: 550, enhanced: "5.1.1", text: "a b"},
		"550-5.1.1 a\r\n550-\r\n550  b \r\n":     {code: 550, enhanced: "5.1.1", text: "a b"},
		"550 5.1 a\r\n":                          {code: 550, enhanced: "5.0.0", text: "5.1 a"},
		"550 5.1.1234 a\r\n":                     {code: 550, enhanced: "5.0.0", text: "5.1.1234 a"},
		"550 4.1.1 a\r\n":                        {code: 550, enhanced: "5.0.0", text: "4.1.1 a"},
		"450 4.2.0 \xff\u202e\x07 tiếng\tViệt\n": {code: 450, enhanced: "4.2.0", text: "\ufffd?? tiếng Việt"},
	} {
		r, err := readFrom(t, sent, Limits{})
		r.lines, want.lines = nil, nil
		if err != nil || r.code != want.code || r.enhanced != want.enhanced || r.text != want.text {
			t.Errorf("%q: %+v %v, want %+v", sent, r, err, want)
		}
	}
}

func TestWhatIsNoReply(t *testing.T) {
	for _, sent := range []string{"\r\n", "25 ok\r\n", "150 ok\r\n", "650 ok\r\n", "2x0 ok\r\n", "250_ok\r\n", "250-a\r\n251 b\r\n", "hello\r\n",
		"250 " + strings.Repeat("x", 5000) + "\r\n", strings.Repeat("x", 1<<20), strings.Repeat("250-x\r\n", 101) + "250 x\r\n"} {
		if r, err := readFrom(t, sent, Limits{}); !errors.Is(err, errReply) {
			t.Errorf("%.30q: %+v %v", sent, r, err)
		}
	}
	for _, sent := range []string{"", "250 o", "250-a\r\n"} {
		if r, err := readFrom(t, sent, Limits{}); err == nil {
			t.Errorf("%q: %+v", sent, r)
		}
	}
}

// TestTricklingReply: the time is that of the whole reply, not of each byte.
func TestTricklingReply(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := io.WriteString(server, "250-x\r\n"); err != nil {
				return
			}
		}
	}()
	limits := Limits{ReplyLines: 1 << 30}
	limits.defaults()
	if _, err := newWire(client, &limits, time.Second).read(50 * time.Millisecond); err == nil {
		t.Error("a reply")
	}
	client.Close()
	<-done
}

func TestCommandsStayOneLine(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	limits := Limits{}
	limits.defaults()
	w := newWire(client, &limits, time.Second)
	for _, line := range []string{"a\rb", "a\nb", "a\x00b", "a\x7fb", "a\u00e9"} {
		if w.queue(line, false) == nil {
			t.Errorf("%q was taken", line)
		}
	}
	if err := w.queue("a\u00e9", true); err != nil {
		t.Error(err)
	}
}

// TestSCRAM is the exchange of RFC 7677 §3.
func TestSCRAM(t *testing.T) {
	c := newSCRAMClient("user", "pencil")
	c.nonce = "rOprNGfwEbeRWgbNEkqO"
	if _, first, _ := c.Start(); string(first) != "n,,n=user,r=rOprNGfwEbeRWgbNEkqO" {
		t.Errorf("first message %q", first)
	}
	answer, err := c.Next([]byte("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"))
	if want := "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="; err != nil || string(answer) != want {
		t.Errorf("%q %v", answer, err)
	}
	if _, err := c.Next([]byte("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")); err != nil {
		t.Error(err)
	}
	if _, err := c.Next(nil); err == nil {
		t.Error("a third challenge")
	}
}

func TestSCRAMServerThatCheats(t *testing.T) {
	salt := base64.StdEncoding.EncodeToString([]byte("salt"))
	for name, challenges := range map[string][]string{
		"no message":          {"x"},
		"another nonce":       {"r=other,s=" + salt + ",i=4096"},
		"no nonce of its own": {"r=N,s=" + salt + ",i=4096"},
		"few iterations":      {"r=Nx,s=" + salt + ",i=1"},
		"endless iterations":  {"r=Nx,s=" + salt + ",i=2000000000"},
		"no salt":             {"r=Nx,s=,i=4096"},
		"wrong signature":     {"r=Nx,s=" + salt + ",i=4096", "v=" + salt},
		"an error":            {"r=Nx,s=" + salt + ",i=4096", "e=invalid-proof"},
	} {
		c := newSCRAMClient("user", "pencil")
		c.nonce = "N"
		c.Start()
		var err error
		for _, challenge := range challenges {
			_, err = c.Next([]byte(challenge))
		}
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestOnlyTheFirstReturnPathIsLeftOut(t *testing.T) {
	for in, want := range map[string]string{
		"Return-Path: <a@b.c>\r\nX: y\r\n":                           "P: q\r\nX: y\r\n",
		"RETURN-PATH: <a@b.c>\r\n\tmore\r\nX: y\r\n":                 "P: q\r\nX: y\r\n",
		"Return-Path: <a>\r\nReturn-Path: <b>\r\n":                   "P: q\r\nReturn-Path: <b>\r\n",
		"X: y\r\nReturn-Path: <b>\r\n":                               "P: q\r\nX: y\r\nReturn-Path: <b>\r\n",
		"Return-Path":                                                "P: q\r\nReturn-Path",
		"Return-Path: " + strings.Repeat("x", 9000) + "\r\nX: y\r\n": "P: q\r\nX: y\r\n",
		"Return-Path: <>":                                            "P: q\r\n",
		"":                                                           "P: q\r\n",
	} {
		r, err := openStored(context.Background(), Message{Open: opens(in), Prefix: []byte("P: q\r\n")})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("%.40q: %.40q %v", in, got, err)
		}
	}
}

// FuzzReply: whatever a server says, it is an error or a reply fit to be shown.
func FuzzReply(f *testing.F) {
	f.Add("250-2.0.0 a\r\n250 2.0.0 b\r\n")
	f.Add("550 5.1.1 \xff\x1b\u202e\n")
	f.Fuzz(func(t *testing.T, sent string) {
		r, err := readFrom(t, sent, Limits{})
		if err != nil {
			return
		}
		if r.code < 200 || r.code > 599 || int(r.enhanced[0]-'0') != r.code/100 || !utf8.ValidString(r.text) || len(r.text) > maxText || strings.ContainsAny(r.text, "\r\n\x00\x1b") {
			t.Errorf("%q: %+v", sent, r)
		}
		parseExtensions(r.lines)
	})
}

// FuzzBody: what is sent after DATA is what another implementation reads back, and holds no line end but CRLF; in any pieces.
func FuzzBody(f *testing.F) {
	f.Add("a\r\n.\r\n..b\r\n.", uint8(1))
	f.Add("a\r\n\n.\r\n", uint8(3))
	f.Add("ab.c\r\n.d.\r\n", uint8(1))
	f.Add("\r\r\n.\r\n", uint8(2))
	f.Add(".\r", uint8(2))
	f.Fuzz(func(t *testing.T, raw string, piece uint8) {
		var scan scanner
		var out bytes.Buffer
		d := &dotWriter{w: &out}
		var err error
		for rest := raw; rest != "" && err == nil; {
			n := min(len(rest), int(piece)+1)
			scan.Write([]byte(rest[:n]))
			_, err = d.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		if err == nil {
			err = d.close()
		}
		facts := scan.finish()
		if (err != nil) != facts.bare {
			t.Fatalf("%q: %v, bare %v", raw, err, facts.bare)
		}
		if err != nil {
			if bytes.HasSuffix(out.Bytes(), []byte("\r\n.\r\n")) && !strings.HasSuffix(raw, "\r\n.\r\n") {
				t.Fatalf("%q: refused and ended: %q", raw, out.Bytes())
			}
			return
		}
		want := raw
		if facts.open {
			want += "\r\n"
		}
		if int64(len(want)) != facts.size {
			t.Fatalf("%q: size %d, want %d", raw, facts.size, len(want))
		}
		end := bytes.Index(append([]byte("\r\n"), out.Bytes()...), []byte("\r\n.\r\n"))
		if end+len(".\r\n") != out.Len() {
			t.Fatalf("%q: ends before its end: %q", raw, out.Bytes())
		}
		read, err := textproto.NewReader(bufio.NewReader(&out)).ReadDotBytes()
		if err != nil || string(read) != strings.ReplaceAll(want, "\r\n", "\n") {
			t.Fatalf("%q: %q %v", raw, read, err)
		}
	})
}

func TestFacts(t *testing.T) {
	line := strings.Repeat("x", maxLine)
	for in, want := range map[string]facts{
		"":                   {},
		"a\r\n":              {size: 3},
		"a":                  {size: 3, open: true},
		"a\r\n\r\nb\r\n":     {size: 8},
		"a\nb\r\n":           {size: 5, bare: true},
		"a\rb\r\n":           {size: 5, bare: true},
		"a\r\r\n":            {size: 4, bare: true},
		"\n":                 {size: 1, bare: true},
		"\r":                 {size: 3, bare: true, open: true},
		"a\x00\r\n":          {size: 4, nul: true},
		"\xc3\xa0\r\n":       {size: 4, eightBit: true},
		"\xff\r\n":           {size: 3, eightBit: true},
		line + "\r\n":        {size: maxLine + 2},
		line + "x\r\n":       {size: maxLine + 3, long: true},
		line + "\r\n" + line: {size: 2*maxLine + 4, open: true},
	} {
		for _, piece := range []int{1, 2, 7, 5000} {
			var s scanner
			for rest := in; rest != ""; {
				n := min(piece, len(rest))
				s.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			if got := s.finish(); got != want {
				t.Errorf("%.20q in pieces of %d: %+v, want %+v", in, piece, got, want)
			}
		}
	}
}
