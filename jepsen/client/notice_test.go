package client

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/jepsen/history"
)

// report is a notice about a message, as RFC 3464 has it.
func report(returned string, recipients ...string) []byte {
	fields := "Reporting-MTA: dns; n1.example.test\r\n"
	for _, r := range recipients {
		to, action, _ := strings.Cut(r, " ")
		fields += "\r\nOriginal-Recipient: rfc822;" + to + "\r\nFinal-Recipient: rfc822;" + to + "\r\nAction: " + action + "\r\nStatus: 5.1.1\r\n"
	}
	return []byte("From: MAILER-DAEMON@example.test\r\nContent-Type: multipart/report; boundary=x\r\n\r\n--x\r\n\r\nSorry.\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\n" +
		fields + "\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n" + returned + "\r\n--x--\r\n")
}

func TestNotices(t *testing.T) {
	msg := string(Message("m1", "u1@example.test", 2000, rand.New(rand.NewPCG(1, 1))))
	for name, tc := range map[string]struct {
		raw  []byte
		want string
	}{
		"one recipient":             {report(msg, "a@x.test failed"), "m1 [a@x.test]"},
		"two":                       {report(msg, "a@x.test failed", "b@x.test failed"), "m1 [a@x.test b@x.test]"},
		"one of them later":         {report(msg, "a@x.test delayed", "b@x.test failed"), "m1 [b@x.test]"},
		"only a delay":              {report(msg, "a@x.test delayed"), "m1 []"},
		"of a message not of ours":  {report("Subject: x\r\n\r\nx", "a@x.test failed"), " [a@x.test]"},
		"no notice":                 {[]byte("Subject: x\r\n\r\nx\r\n"), " []"},
		"a message of ours, by the": {[]byte(msg), "m1 []"},
	} {
		if n := notice(tc.raw); fmt.Sprint(n.ID, " ", n.Dest) != tc.want {
			t.Errorf("%s: %q %q, want %s", name, n.ID, n.Dest, tc.want)
		}
	}
	// What a notice returns is not taken for a message whose bytes are wrong.
	if id, err := Check(report(msg, "a@x.test failed")); id != "" || err != nil {
		t.Errorf("a notice is the message %q, %v", id, err)
	}
	if id, err := Check([]byte(strings.Replace(msg, IDField, "X-Other", 1))); id != "" || err == nil {
		t.Errorf("a message that lost its id: %q, %v", id, err)
	}
}

func TestQueueIDs(t *testing.T) {
	raw := "Received: from a (b)\r\n\tby c with ESMTP\r\n\tid q7;\r\n\tMon, 30 Nov 2026 10:00:00 +0700\r\nReceived: from d by e id q6;\r\n\tthen\r\nMessage-ID: <x@y>\r\n\r\nid q5\r\n"
	if m, q := Trace([]byte(raw)); m != "<x@y>" || q != "q7" {
		t.Errorf("%q, %q", m, q)
	}
	for answer, want := range map[string]string{"250 2.6.0 q7 queued": "q7", "250 2.6.0 q8 delivered": "q8", "250 2.6.0 taken": "", "451 4.3.2 q9 queued": ""} {
		c, err := DialSMTP(t.Context(), testOptions(), Node{Name: "n1", SMTP: serve(t, nil, mx(func(p *peer) { p.say(answer) }))})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Deliver(t.Context(), "a@example.test", []string{"b@example.test"}, []byte("Subject: x\r\n\r\nx\r\n")) // recorded by the server
		if got := c.QueueID(); got != want {
			t.Errorf("%s: %q, want %q", answer, got, want)
		}
		c.Close()
	}
}

// One who is deaf has sent the message whole, and does not know what became of it.
func TestDeafSendersSendTheWholeMessage(t *testing.T) {
	whole := make(chan bool, 1)
	c, err := DialSMTP(t.Context(), testOptions(), Node{Name: "n1", SMTP: serve(t, nil, mx(func(p *peer) { whole <- true; p.say("250 2.6.0 q1 queued") }))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Deaf = true
	errs := c.Deliver(t.Context(), "a@example.test", []string{"b@example.test"}, []byte("Subject: x\r\n\r\nx\r\n"))
	if Outcome(errs[0]) != history.Unknown || c.Alive() || c.QueueID() != "" {
		t.Errorf("%v, alive %v, %q", errs[0], c.Alive(), c.QueueID())
	}
	<-whole
}

func TestQueueIsListedAndFlushedPieceByPiece(t *testing.T) {
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req struct {
			From   queuePlace
			Action string
		}
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
		}
		asked = append(asked, fmt.Sprint(r.URL.Path, " ", req.Action, " ", req.From.Message))
		if req.From.Message == 0 {
			_, _ = io.WriteString(w, `{"entries":[{"queue_id":"q1"}],"next":{"message":7,"number":1}}`)
			return
		}
		_, _ = io.WriteString(w, `{"entries":[{"queue_id":"q2","owner":"n3"}]}`)
	}))
	defer srv.Close()
	a := NewAdmin(testOptions(), adminNode(t, srv.Listener.Addr().String()))
	list, err := a.Queue(t.Context())
	if err != nil || len(list) != 2 || list[1].QueueID != "q2" || list[1].Owner != "n3" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := a.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	want := "[/v1/queue.list  0 /v1/queue.list  7 /v1/queue.act retry 0 /v1/queue.act retry 7]"
	if got := fmt.Sprint(asked); got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}
