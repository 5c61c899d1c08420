package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/smtp"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/dev"
)

// mailing is one message of the crash test.
type mailing struct {
	id     string // Message-ID
	author dev.Account
	remote []string // at the sink
	refuse []string // refused there
	local  []string
	taken  bool
	tries  int
}

// crashLoad is what the clients of the crash test do, and what was killed meanwhile.
type crashLoad struct {
	c    *devCluster
	pace time.Duration

	mu    sync.Mutex
	all   []*mailing  // guarded by mu, as what it points to
	kills []time.Time // guarded by mu
}

// TestCrashesLoseAndDoubleNoMail kills nodes, every other time the leader, while 64 clients submit at all nodes to recipients here and elsewhere.
// Whoever does not learn what became of a message sends it again, at another node, until it is taken. Then each message is once in each mailbox and
// at the sink, or its sender has one notice, and nothing waits; the sink has another copy for no more than what was in flight at a kill. Full
// figures with QUORUMAIL_SOAK=1: 20,032 messages over 6 minutes, 60 kills; the short form is a thirteenth of that.
func TestCrashesLoseAndDoubleNoMail(t *testing.T) {
	clients, messages, kills, pace := 64, 1536, 6, 36*time.Second
	if soak() {
		messages, kills, pace = 20032, 60, 6*time.Minute
	}
	seed := seedOf(t)
	s := newSink(t)
	l := &crashLoad{c: startClusterWith(t, 3, 8, elsewhere(t, s, "a.test", "b.test")), pace: pace}
	start := time.Now()
	var wg sync.WaitGroup
	for w := range clients {
		wg.Go(func() { l.client(rand.New(rand.NewPCG(seed, uint64(w)+1)), w, messages/clients) })
	}
	leaders := l.killAll(rand.New(rand.NewPCG(seed, 0)), kills, start)
	wg.Wait()
	took := time.Since(start).Round(time.Second)
	l.drain(t)
	again := 0
	for _, m := range l.all {
		again += m.tries - 1
		if !m.taken {
			t.Errorf("%s was never taken, in %d tries", m.id, m.tries)
		}
	}
	t.Logf("%d messages in %v by %d clients, %d kills, %d of them of the leader, %d tries more; the queues were empty after %v", len(l.all), took, clients, kills, leaders, again,
		time.Since(start).Round(time.Second))
	l.verifySink(t, s)
	for i := range l.c.Nodes {
		l.verifyMailboxes(t, i)
	}
	l.c.check()
}

// client sends messages one after the other.
func (l *crashLoad) client(r *rand.Rand, w, n int) {
	start := time.Now()
	for i := range n {
		time.Sleep(time.Until(start.Add(l.pace * time.Duration(i) / time.Duration(n)))) // pacing is the load's definition, not a wait for something
		m := &mailing{id: fmt.Sprintf("<crash-%d-%d@example.test>", w, i), author: l.c.Accounts[w%len(l.c.Accounts)]}
		m.remote = []string{fmt.Sprintf("r%d@a.test", w)}
		if i%3 == 0 {
			m.remote = append(m.remote, fmt.Sprintf("r%d@b.test", i))
		}
		if i%8 == 1 {
			m.refuse = []string{fmt.Sprintf("refuse.%d@b.test", w)}
		}
		if i%2 == 0 {
			m.local = []string{l.c.Accounts[(w+i)%len(l.c.Accounts)].Address}
		}
		l.send(r, m)
		l.mu.Lock()
		l.all = append(l.all, m)
		l.mu.Unlock()
	}
}

// crashPatience is how long a client tries: far longer than any node is dead.
const crashPatience = time.Minute

// send tries one node after the other until one takes the message.
func (l *crashLoad) send(r *rand.Rand, m *mailing) {
	head := fmt.Sprintf("From: <%s>\r\nSubject: number %d\r\nMessage-ID: %s\r\n\r\n", m.author.Address, r.IntN(1000), m.id)
	_, body, _ := strings.Cut(string(generated(r, 0)), "\r\n\r\n")
	to := slices.Concat(m.remote, m.refuse, m.local)
	first := r.IntN(len(l.c.Nodes))
	for began := time.Now(); !m.taken && time.Since(began) < crashPatience; m.tries++ {
		if m.tries > 0 {
			time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond) // as a client waits
		}
		m.taken = submitOnce(l.c.Nodes[(first+m.tries)%len(l.c.Nodes)].Submission, m.author, to, head+body) == nil
	}
}

// submitOnce sends a message to a node, in bounded time; nil: it was taken for all.
func submitOnce(address string, a dev.Account, to []string, message string) error {
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	if err := c.Auth(plainAuth{a}); err != nil {
		return err
	}
	if err := c.Mail(a.Address); err != nil {
		return err
	}
	for _, r := range to {
		if err := c.Rcpt(r); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(message)); err != nil {
		return err
	}
	return w.Close()
}

// killAll kills a node every few seconds, every other time the leader, and starts it again; it returns how often that was the leader.
func (l *crashLoad) killAll(r *rand.Rand, kills int, start time.Time) (leaders int) {
	for i := range kills {
		time.Sleep(time.Until(start.Add(l.pace * time.Duration(2*i+1) / time.Duration(2*kills+1)))) // the kills' moments are the test's definition
		victim := l.c.leader()
		if i%2 == 0 {
			leaders++
		} else if other := r.IntN(len(l.c.Nodes)); other != victim {
			victim = other
		} else {
			leaders++
		}
		l.c.kill(victim)
		l.mu.Lock()
		l.kills = append(l.kills, time.Now())
		l.mu.Unlock()
		time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond) // how long the node stays dead is part of the fault
		l.c.restart(victim)
	}
	return leaders
}

// drain has what waits tried again until nothing does.
func (l *crashLoad) drain(t *testing.T) {
	t.Helper()
	var waiting admin.QueueList
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) { // between two looks
		var got admin.QueueList
		if err := l.c.admin(0, "queue.list", admin.QueueListRequest{}, &got); err != nil {
			t.Logf("see what waits: %v", err)
			continue
		}
		if waiting = got; len(got.Entries) == 0 && got.Next == nil {
			return
		}
		var done admin.QueueActed
		if err := l.c.admin(0, "queue.act", admin.QueueActRequest{Action: "retry", Who: "test"}, &done); err != nil {
			t.Logf("have it tried: %v", err)
		}
	}
	t.Errorf("something still waits: %+v", waiting.Queues)
	for _, e := range waiting.Entries[:min(10, len(waiting.Entries))] {
		t.Errorf("  %+v", e)
	}
}

// receivedID finds the queue id in a Received field.
var receivedID = regexp.MustCompile(`\bid ([^\s;]+)`)

// verifySink demands one copy for each recipient, and another only where a node died while the one before was in flight.
func (l *crashLoad) verifySink(t *testing.T, s *sink) {
	t.Helper()
	type entry struct{ id, to string }
	copies := map[entry][]arrived{}
	for _, a := range s.all() {
		for _, to := range a.to {
			k := entry{a.header.Get("Message-Id"), to}
			copies[k] = append(copies[k], a)
		}
	}
	lost, doubled := 0, 0
	for _, m := range l.all {
		for _, to := range m.remote {
			got := copies[entry{m.id, to}]
			delete(copies, entry{m.id, to})
			if len(got) == 0 && m.taken {
				lost++
				t.Errorf("%s for %s never came", m.id, to)
			}
			doubled += max(0, len(got)-1)
			l.verifyCopies(t, m, to, got)
		}
	}
	for k := range copies {
		t.Errorf("%s came for %s, to whom nobody sent it", k.id, k.to)
	}
	t.Logf("at the sink: %d lost, %d came once more", lost, doubled)
}

// crashFlight is how long before a kill a copy may have come whose sender did not record it any more.
const crashFlight = 3 * time.Second

// verifyCopies judges the copies of one recipient: they bear one queue id, and each but the last was in flight at a kill of its own.
func (l *crashLoad) verifyCopies(t *testing.T, m *mailing, to string, got []arrived) {
	t.Helper()
	slices.SortFunc(got, func(a, b arrived) int { return a.at.Compare(b.at) })
	used := make([]bool, len(l.kills))
	for i := range max(0, len(got)-1) {
		a, b := receivedID.FindString(got[i].header.Get("Received")), receivedID.FindString(got[i+1].header.Get("Received"))
		if a == "" || a != b {
			t.Errorf("%s came for %s with the queue ids %q and %q", m.id, to, a, b)
		}
		k := slices.IndexFunc(l.kills, func(at time.Time) bool {
			return got[i].at.After(at.Add(-crashFlight)) && got[i].at.Before(at.Add(time.Second)) && got[i+1].at.After(at)
		})
		if k < 0 || used[k] {
			t.Errorf("%s came for %s at %v and again at %v, and no node died then: %v", m.id, to, got[i].at, got[i+1].at, l.kills)
			continue
		}
		used[k] = true
	}
}

// verifyMailboxes reads everything at a node: one copy of each message in each of its mailboxes, and one notice to its author for each recipient
// that the sink refused.
func (l *crashLoad) verifyMailboxes(t *testing.T, node int) {
	t.Helper()
	copies, notices := map[string]int{}, map[string]int{}
	for _, a := range l.c.Accounts {
		eachMessage(t, l.c.Nodes[node].IMAP, a, func(_ imap.UID, raw []byte) {
			if report := string(raw); strings.Contains(report, "multipart/report") {
				notices[a.Address+" "+noticeOf(report)]++
			} else if id := headerValue(raw, "Message-ID"); strings.HasPrefix(id, "<crash-") { // a trial cluster begins with some mail
				copies[a.Address+" "+id]++
			}
		})
	}
	name := l.c.Nodes[node].Name
	for _, m := range l.all {
		for _, to := range m.local {
			if n := copies[to+" "+m.id]; n != 1 && (m.taken || n > 1) {
				t.Errorf("%s has %d copies of %s in the mailbox of %s", name, n, m.id, to)
			}
			delete(copies, to+" "+m.id)
		}
		for _, to := range m.refuse {
			key := m.author.Address + " " + m.id + " " + to
			if n := notices[key]; n != 1 && (m.taken || n > 1) {
				t.Errorf("%s has %d notices that %s did not get to %s", name, n, m.id, to)
			}
			delete(notices, key)
		}
	}
	if len(copies)+len(notices) > 0 {
		t.Errorf("%s shows what nobody sent: %v, %v", name, copies, notices)
	}
}

var (
	noticeTo = regexp.MustCompile(`(?im)^Final-Recipient: *rfc822 *; *(\S+)`)
	noticeID = regexp.MustCompile(`(?im)^Message-ID: *(<crash-\S+>)`)
)

// noticeOf is which message a notice is about, and to whom that did not get; "several" when it is about more than one.
func noticeOf(report string) string {
	to, id := noticeTo.FindAllStringSubmatch(report, -1), noticeID.FindStringSubmatch(report)
	if len(to) != 1 || id == nil {
		return "several"
	}
	return id[1] + " " + to[0][1]
}
