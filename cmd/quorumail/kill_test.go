package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
)

// ledger notes how each delivery ended.
type ledger struct {
	mu      sync.Mutex
	sent    map[string][32]byte // digest of each message tried; guarded by mu
	acked   map[string]bool     // guarded by mu
	unknown map[string]bool     // guarded by mu
	refused map[string]bool     // by all nodes, definitely; guarded by mu
	again   int                 // tries at another node after a definite refusal; guarded by mu
}

func newLedger() *ledger {
	return &ledger{sent: map[string][32]byte{}, acked: map[string]bool{}, unknown: map[string]bool{}, refused: map[string]bool{}}
}

func (l *ledger) note(id string, msg []byte, err error, tries int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[id] = sha256.Sum256(msg)
	l.again += tries - 1
	switch {
	case err == nil:
		l.acked[id] = true
	case errors.Is(err, errUnknown):
		l.unknown[id] = true
	default:
		l.refused[id] = true
	}
}

// TestKilledNodesLoseAndDoubleNothing kills nodes, the leader among them, while 64 clients deliver at all nodes. A client goes on to another
// node after a definite refusal, and does not send again after an unknown outcome. Full figures with QUORUMAIL_SOAK=1: 20,000 messages
// over 6 minutes, 36 kills; the short form is a twelfth of that.
func TestKilledNodesLoseAndDoubleNothing(t *testing.T) {
	clients, messages, kills, pace := 64, 1600, 5, 30*time.Second
	if soak() {
		messages, kills, pace = 20032, 36, 6*time.Minute
	}
	seed := seedOf(t)
	c := startCluster(t, 3, 8)
	l := newLedger()
	start := time.Now()
	var wg sync.WaitGroup
	for w := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			l.sendPaced(c, rand.New(rand.NewPCG(seed, uint64(w)+1)), w, messages/clients, pace)
		}()
	}
	leaders := killAll(c, rand.New(rand.NewPCG(seed, 0)), kills, start, pace)
	wg.Wait()
	t.Logf("%d messages in %v by %d clients, %d kills, %d of them of the leader: %d acknowledged, %d unknown, %d refused by all nodes, %d tries at another node after a refusal",
		messages, time.Since(start).Round(time.Second), clients, kills, leaders, len(l.acked), len(l.unknown), len(l.refused), l.again)
	if len(l.acked) < messages*9/10 {
		t.Errorf("only %d of %d messages were acknowledged: the cluster was not available", len(l.acked), messages)
	}
	if leaders == 0 {
		t.Error("the leader was never killed")
	}
	var first map[string]string
	for i := range c.Nodes {
		shown := l.verify(t, c, i)
		if i == 0 {
			first = shown
		}
		for place, id := range first {
			if shown[place] != id {
				t.Errorf("%s shows %q as %s, %s shows %q", c.Nodes[i].Name, shown[place], place, c.Nodes[0].Name, id)
			}
		}
		if len(shown) != len(first) {
			t.Errorf("%s shows %d messages, %s %d", c.Nodes[i].Name, len(shown), c.Nodes[0].Name, len(first))
		}
	}
	c.check()
}

// killAll kills nodes, every other time the leader, spread over the pace; it returns how often that was the leader.
func killAll(c *devCluster, r *rand.Rand, kills int, start time.Time, pace time.Duration) (leaders int) {
	for i := range kills {
		at := start.Add(pace * time.Duration(2*i+1) / time.Duration(2*kills+2))
		time.Sleep(time.Until(at)) // the kills' moments are the test's definition, not a wait for something
		leader := c.leader()
		victim := leader
		if i%2 == 1 {
			victim = r.IntN(len(c.Nodes))
		}
		if victim == leader {
			leaders++
		}
		c.kill(victim)
		time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond) // how long the node stays dead is part of the fault
		c.restart(victim)
	}
	return leaders
}

func (l *ledger) sendPaced(c *devCluster, r *rand.Rand, w, n int, pace time.Duration) {
	start := time.Now()
	for i := range n {
		time.Sleep(time.Until(start.Add(pace * time.Duration(i) / time.Duration(n)))) // pacing is the load's definition, not a wait for something
		id := fmt.Sprintf("<kill-%d-%d@example.net>", w, i)
		msg := append([]byte("X-Id: "+id+"\r\n"), generated(r, i)...)
		to := c.Accounts[2+(w+i)%8].Address
		l.send(c, r, id, to, msg)
	}
}

// send tries the nodes in a random order until one takes the message or may have taken it.
func (l *ledger) send(c *devCluster, r *rand.Rand, id, to string, msg []byte) {
	var err error
	tries := 0
	for _, node := range r.Perm(len(c.Nodes)) {
		tries++
		if err = deliver(c.Nodes[node].SMTP, "sender@example.net", to, msg); err == nil || errors.Is(err, errUnknown) {
			break
		}
	}
	l.note(id, msg, err, tries)
}

// verify reads everything at a node, and returns what it shows: ids by account and UID.
func (l *ledger) verify(t *testing.T, c *devCluster, node int) map[string]string {
	t.Helper()
	shown := map[string]string{}
	copies := map[string]int{}
	changed := 0
	for _, a := range c.Accounts[2:] {
		eachMessage(t, c.Nodes[node].IMAP, a, func(uid imap.UID, msg []byte) {
			body := belowTrace(msg, "X-Id: ")
			id := headerValue(body, "X-Id")
			shown[fmt.Sprintf("%s UID %d", a.Address, uid)] = id
			copies[id]++
			if sha256.Sum256(body) != l.sent[id] {
				changed++
			}
		})
	}
	lost, doubled, phantom, surplus := 0, 0, 0, 0
	for id := range l.acked {
		if copies[id] == 0 {
			lost++
		}
	}
	for id, n := range copies {
		switch {
		case n > 1:
			doubled++
		case l.unknown[id]:
			surplus++
		case !l.acked[id]:
			phantom++
		}
	}
	t.Logf("%s shows %d messages: %d lost, %d doubled, %d there though refused, %d changed; of %d with an unknown outcome %d are there",
		c.Nodes[node].Name, len(shown), lost, doubled, phantom, changed, len(l.unknown), surplus)
	if lost+doubled+phantom+changed > 0 {
		t.Errorf("%s lost, doubled, invented or changed messages", c.Nodes[node].Name)
	}
	return shown
}
