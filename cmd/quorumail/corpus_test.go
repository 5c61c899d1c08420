package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
)

// corpus reads the messages of the folder named by QUORUMAIL_CORPUS.
func corpus(t *testing.T) map[string][]byte {
	t.Helper()
	dir := os.Getenv("QUORUMAIL_CORPUS")
	if dir == "" {
		t.Skip("set QUORUMAIL_CORPUS to a folder with eml/*.eml to run this")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "eml", "*.eml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no eml/*.eml in %s: %v", dir, err)
	}
	out := map[string][]byte{}
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(p)] = raw
	}
	return out
}

// crlf is a message as it travels by SMTP: every line ends in CRLF.
func crlf(raw []byte) []byte {
	s := strings.ReplaceAll(string(raw), "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	s = strings.ReplaceAll(s, "\n", "\r\n")
	if !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	return []byte(s)
}

func TestCorpusComesBackByteForByteAtOtherNodes(t *testing.T) {
	c := startCluster(t, 3, 1)
	user := c.Accounts[2]
	var names []string
	var sent [][]byte
	for name, msg := range carriable(t) {
		if err := deliver(c.Nodes[0].SMTP, "sender@example.net", user.Address, msg); err != nil {
			t.Fatalf("deliver %s: %v", name, err)
		}
		names, sent = append(names, name), append(sent, msg)
	}
	for _, node := range c.Nodes[1:] {
		got := fetchAll(t, login(t, node.IMAP, user))
		if len(got) != len(sent) {
			t.Fatalf("%s shows %d messages, want %d", node.Name, len(got), len(sent))
		}
		for i := range sent {
			checkBelowTrace(t, node.Name+" "+names[i], got[i], sent[i])
		}
	}
	appendCorpus(t, c)
}

// checkBelowTrace demands that got is some trace header fields and then want.
func checkBelowTrace(t *testing.T, what string, got, want []byte) {
	t.Helper()
	trace, ok := bytes.CutSuffix(got, want)
	if !ok {
		t.Errorf("%s: the message does not end with what was sent (%d bytes came back, %d were sent)", what, len(got), len(want))
		return
	}
	for _, line := range strings.Split(strings.TrimSuffix(string(trace), "\r\n"), "\r\n") {
		if !strings.HasPrefix(line, "Return-Path:") && !strings.HasPrefix(line, "Received:") && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
			t.Errorf("%s: %q stands above the message and is no trace header", what, line)
		}
	}
}

func appendCorpus(t *testing.T, c *devCluster) {
	t.Helper()
	writer := login(t, c.Nodes[1].IMAP, c.Accounts[0])
	if err := writer.Create("corpus", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	want := map[imap.UID][]byte{}
	for name, raw := range corpus(t) {
		data, err := appendMessage(writer, "corpus", raw)
		if bytes.IndexByte(raw, 0) >= 0 {
			if err == nil {
				t.Errorf("APPEND of %s, which holds NUL, was taken without literal8", name)
			}
			continue
		}
		if err != nil {
			t.Fatalf("append %s: %v", name, err)
		}
		want[data.UID] = raw
	}
	for _, node := range c.Nodes {
		reader := login(t, node.IMAP, c.Accounts[0])
		if _, err := reader.Select("corpus", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		msgs, err := reader.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		if len(msgs) != len(want) {
			t.Errorf("%s shows %d messages, want %d", node.Name, len(msgs), len(want))
		}
		for _, m := range msgs {
			if !bytes.Equal(m.BodySection[0].Bytes, want[m.UID]) {
				t.Errorf("%s: UID %d came back changed", node.Name, m.UID)
			}
		}
	}
}

// TestManyMessagesComeBackAtOtherNodes fills one mailbox: 20,000 messages with QUORUMAIL_SOAK=1, 1,500 else.
func TestManyMessagesComeBackAtOtherNodes(t *testing.T) {
	n := 1500
	if soak() {
		n = 20000
	}
	c := startCluster(t, 3, 1)
	user := c.Accounts[2]
	seed := seedOf(t)
	sent := make([][]byte, n)
	for i := range sent {
		sent[i] = generated(rand.New(rand.NewPCG(seed, uint64(i))), i)
	}
	work := make(chan int)
	errs := make(chan error, 16)
	for range cap(errs) {
		go func() {
			for i := range work {
				if err := deliver(c.Nodes[0].SMTP, "sender@example.net", user.Address, sent[i]); err != nil {
					errs <- fmt.Errorf("message %d: %w", i, err)
					for range work { // let the feeder end
					}
					return
				}
			}
			errs <- nil
		}()
	}
	for i := range sent {
		work <- i
	}
	close(work)
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range c.Nodes[1:] {
		var got [][]byte
		eachMessage(t, node.IMAP, user, func(_ imap.UID, msg []byte) { got = append(got, msg) })
		sameGenerated(t, node.Name, got, sent)
		t.Run("imaplib at "+node.Name, func(t *testing.T) { sameGenerated(t, "imaplib at "+node.Name, byImaplib(t, node, user), sent) })
		t.Run("mbsync at "+node.Name, func(t *testing.T) { sameGenerated(t, "mbsync at "+node.Name, byMbsync(t, node, user), sent) })
	}
}

// sameGenerated demands each generated message once, byte for byte below our trace fields.
func sameGenerated(t *testing.T, what string, got, sent [][]byte) {
	t.Helper()
	left := map[string][]byte{}
	for i, m := range sent {
		left[fmt.Sprintf("<gen%d@example.net>", i)] = m
	}
	for _, g := range got {
		id := headerValue(g, "Message-ID")
		want, ok := left[id]
		if !ok {
			t.Fatalf("%s shows %q, which was not sent, or twice", what, id)
		}
		delete(left, id)
		checkBelowTrace(t, what+" "+id, g, want)
	}
	if len(left) > 0 {
		t.Errorf("%s lacks %d messages", what, len(left))
	}
}

// generated makes a message of 200 bytes to 60 KiB, most of them small.
func generated(r *rand.Rand, i int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <sender@example.net>\r\nSubject: number %d\r\nMessage-ID: <gen%d@example.net>\r\n\r\n", i, i)
	size := 200 << r.IntN(5)
	if r.IntN(20) == 0 {
		size = 60 << 10
	}
	for b.Len() < size {
		fmt.Fprintf(&b, "%016x.%016x %d\r\n", r.Uint64(), r.Uint64(), r.IntN(10))
		if r.IntN(10) == 0 {
			b.WriteString(".a line that begins with a dot\r\n")
		}
	}
	return b.Bytes()
}

func headerValue(msg []byte, name string) string {
	for _, line := range strings.Split(string(msg), "\r\n") {
		if line == "" {
			break
		}
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			return v
		}
	}
	return ""
}
