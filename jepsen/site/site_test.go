package site

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
)

// start starts a site, and tells where it is.
func start(t *testing.T) (*Site, string, *history.Recorder) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := history.NewRecorder(nil, history.Run{})
	s := Start(Config{Name: "site1", Listener: l, History: h, From: func(string) string { return "n2" }})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String(), h
}

// send sends a message, and answers with the first error.
func send(address string, raw []byte, to ...string) error {
	c, err := gosmtp.Dial(address)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.SendMail("u1@example.test", to, strings.NewReader(string(raw)))
}

// traced is a message as a node sends it.
func traced(id, queueID string) []byte {
	msg := client.Message(id, "u1@example.test", 3000, rand.New(rand.NewPCG(1, 1)))
	return append([]byte("Received: from x (y)\r\n\tby n2.example.test with ESMTP\r\n\tid "+queueID+";\r\n\tMon, 30 Nov 2026 10:00:00 +0700\r\n"), msg...)
}

func sinks(h *history.Recorder) (out []string) {
	for _, o := range h.History().Ops {
		out = append(out, fmt.Sprintf("%s %s %s %s %s from %s", o.Kind, o.ID, o.Dest, o.Value, o.Outcome, o.Node))
	}
	return out
}

func code(err error) int {
	var e *gosmtp.SMTPError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestWhatComesIsRecorded(t *testing.T) {
	_, address, h := start(t)
	if err := send(address, traced("m1", "q1"), "a@site1.test", "b@site1.test"); err != nil {
		t.Fatal(err)
	}
	want := "[sink m1 a@site1.test q1 ok from n2 sink m1 b@site1.test q1 ok from n2]"
	if got := fmt.Sprint(sinks(h)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if notes := h.History().Notes; len(notes) > 0 {
		t.Errorf("notes %+v", notes)
	}
}

func TestSpoiledMessagesAreNoted(t *testing.T) {
	_, address, h := start(t)
	for name, raw := range map[string]string{
		"another body":       string(traced("m1", "q1")) + "more\r\n",
		"another Message-ID": strings.Replace(string(traced("m2", "q1")), client.MessageID("m2"), "<other@example.test>", 1),
	} {
		before := len(h.History().Notes)
		if err := send(address, []byte(raw), "a@site1.test"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if notes := h.History().Notes; len(notes) != before+1 || notes[before].Kind != "corrupt" {
			t.Errorf("%s: notes %+v", name, notes)
		}
	}
}

func TestFaults(t *testing.T) {
	s, address, h := start(t)
	msg := traced("m1", "q1")
	if err := send(address, msg, Refused+"1@site1.test"); code(err) != 550 {
		t.Errorf("refused: %v", err)
	}
	s.Fail(Fault{Busy: true})
	if err := send(address, msg, "a@site1.test"); code(err) != 451 {
		t.Errorf("busy: %v", err)
	}
	s.Fail(Fault{Down: true})
	if err := send(address, msg, "a@site1.test"); err == nil || code(err) != 0 {
		t.Errorf("down: %v", err)
	}
	if got := sinks(h); len(got) > 0 {
		t.Errorf("nothing was taken, and recorded was %q", got)
	}
	s.Fail(Fault{Mute: 1})
	if err := send(address, msg, "a@site1.test"); err == nil || code(err) != 0 {
		t.Errorf("mute: %v", err)
	}
	if got := fmt.Sprint(sinks(h)); got != "[sink m1 a@site1.test q1 unknown from n2]" {
		t.Errorf("mute: recorded was %s", got)
	}
	s.Fail(Fault{})
	if err := send(address, msg, "a@site1.test"); err != nil {
		t.Errorf("well again: %v", err)
	}
}

// Whoever waits for it learns of a message that was taken, once, and not before the answer was handed over.
func TestOnTaken(t *testing.T) {
	s, address, h := start(t)
	told := make(chan string, 2)
	s.OnTaken(func(from string) { told <- fmt.Sprint(from, " after ", len(h.History().Ops)) })
	for range 2 {
		if err := send(address, traced("m1", "q1"), "a@site1.test"); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-told; got != "n2 after 1" {
		t.Error(got)
	}
	if len(told) > 0 {
		t.Error("told again")
	}
	s.OnTaken(func(string) { t.Error("told, though that was taken back") })
	s.OnTaken(nil)
	if err := send(address, traced("m2", "q2"), "a@site1.test"); err != nil {
		t.Error(err)
	}
}

// A message that did not arrive whole was not received by anybody.
func TestBrokenMessagesAreNotRecorded(t *testing.T) {
	_, address, h := start(t)
	c, err := gosmtp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Mail("u1@example.test", nil), c.Rcpt("a@site1.test", nil)); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(traced("m1", "q1")); err != nil {
		t.Fatal(err)
	}
	_ = c.Close() // in the middle
	if err := send(address, traced("m2", "q2"), "a@site1.test"); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(sinks(h)); got != "[sink m2 a@site1.test q2 ok from n2]" {
		t.Errorf("recorded was %s", got)
	}
}
