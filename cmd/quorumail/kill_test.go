package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/textproto"
	"os"
	"sync"
	"testing"
	"time"
)

// ledger notes how each delivery ended.
type ledger struct {
	mu      sync.Mutex
	acked   map[string]bool // guarded by mu
	unknown map[string]bool // guarded by mu
	refused int             // guarded by mu
}

func (l *ledger) note(id string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var reply *textproto.Error
	switch {
	case err == nil:
		l.acked[id] = true
	case errors.As(err, &reply) && reply.Code == 451, errors.Is(err, errUnknown) && !errors.As(err, &reply):
		l.unknown[id] = true
	default:
		l.refused++
	}
}

// TestKilledNodesLoseAndDoubleNothing kills nodes, the leader among them, while clients deliver at all nodes. A client does not send
// again after an unknown outcome. Full figures with QUORUMAIL_SOAK=1: 20,000 messages over at least 5 minutes, at least 30 kills.
func TestKilledNodesLoseAndDoubleNothing(t *testing.T) {
	clients, messages, kills, pace := 16, 1500, 5, 45*time.Second
	if os.Getenv("QUORUMAIL_SOAK") != "" {
		clients, messages, kills, pace = 64, 20000, 30, 6*time.Minute
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	c := startCluster(t, 3, 8)
	l := &ledger{acked: map[string]bool{}, unknown: map[string]bool{}}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for w := range clients {
		r := rand.New(rand.NewPCG(seed, uint64(w)+1))
		wg.Add(1)
		go func() {
			defer wg.Done()
			l.sendPaced(c, r, w, messages/clients, pace)
		}()
	}
	go func() { wg.Wait(); close(done) }()
	killed := 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(pace / time.Duration(kills+2)):
			victim := r.IntN(3)
			if killed%2 == 0 {
				victim = c.leader()
			}
			c.kill(victim)
			killed++
			time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond) // how long the node stays dead is part of the fault
			c.restart(victim)
		}
	}
	if killed < kills {
		t.Errorf("killed %d times, want at least %d", killed, kills)
	}
	t.Logf("%d acknowledged, %d unknown, %d refused, %d kills", len(l.acked), len(l.unknown), l.refused, killed)
	if len(l.acked) < messages/2 {
		t.Errorf("only %d of %d messages were acknowledged: the cluster was not available", len(l.acked), messages)
	}
	for i := range c.Nodes {
		l.verify(t, c, i)
	}
}

func (l *ledger) sendPaced(c *devCluster, r *rand.Rand, w, n int, pace time.Duration) {
	start := time.Now()
	for i := range n {
		time.Sleep(time.Until(start.Add(pace * time.Duration(i) / time.Duration(n)))) // pacing is the load's definition, not a wait for something
		id := fmt.Sprintf("<kill-%d-%d@example.net>", w, i)
		msg := generated(r, i)
		msg = append([]byte("X-Id: "+id+"\r\n"), msg...)
		to := c.Accounts[2+(w+i)%8].Address
		l.note(id, deliver(c.Nodes[r.IntN(len(c.Nodes))].SMTP, "sender@example.net", to, msg))
	}
}

func (l *ledger) verify(t *testing.T, c *devCluster, node int) {
	t.Helper()
	seen := map[string]int{}
	for _, a := range c.Accounts[2:] {
		for _, msg := range fetchAll(t, login(t, c.Nodes[node].IMAP, a)) {
			seen[headerValue(msg, "X-Id")]++
		}
	}
	lost, doubled, phantom := 0, 0, 0
	for id := range l.acked {
		if seen[id] == 0 {
			lost++
		}
	}
	for id, n := range seen {
		if n > 1 {
			doubled++
		}
		if !l.acked[id] && !l.unknown[id] {
			phantom++
		}
	}
	if lost+doubled+phantom > 0 {
		t.Errorf("%s: %d lost, %d doubled, %d there though refused", c.Nodes[node].Name, lost, doubled, phantom)
	}
}
