package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/smtp"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/dev"
)

// TestRollingRestartIsHardlyNoticed stops and starts nodes, politely, a follower and the leader in turn, while clients write over sessions that last. A client whose
// session ended, or that finds nobody at a node, goes on at the next node, and must succeed there. The gaps are logged: how long they are is
// the machine's matter too. With QUORUMAIL_SOAK=1 it goes round twelve times.
func TestRollingRestartIsHardlyNoticed(t *testing.T) {
	rounds := 2
	if soak() {
		rounds = 12
	}
	seed := seedOf(t)
	c := startCluster(t, 3, 6)
	load := &rollingLoad{c: c, stop: make(chan struct{})}
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() { load.write(w, rand.New(rand.NewPCG(seed, uint64(w)))) })
	}
	gaps := map[string][]time.Duration{}
	for range rounds {
		lead := c.leader()
		for _, what := range []struct {
			name string
			node int
		}{{"a follower stops", (lead + 1) % 3}, {"the leader stops", c.leader()}, {"nobody stops", -1}} {
			gaps[what.name] = append(gaps[what.name], load.restart(what.node))
		}
	}
	close(load.stop)
	wg.Wait()
	for what, g := range gaps {
		slices.Sort(g)
		t.Logf("%d times %s: longest time without an acknowledged write: median %v, worst %v; all: %v", len(g), what, g[len(g)/2], g[len(g)-1], g)
	}
	acked, again := 0, load.again.Load()
	for _, a := range c.Accounts[2:] {
		eachMessage(t, c.Nodes[0].IMAP, a, func(imap.UID, []byte) { acked++ })
	}
	t.Logf("%d writes acknowledged, %d messages are there, %d tries at another node", load.acks.Load(), acked, again)
	if int64(acked) < load.acks.Load() {
		t.Errorf("%d messages are there, and %d were acknowledged", acked, load.acks.Load())
	}
	if again == 0 {
		t.Error("no client ever had to go on at another node")
	}
	for _, f := range load.failed() {
		t.Error(f)
	}
	c.check()
}

// rollingLoad is clients that write all the time.
type rollingLoad struct {
	c     *devCluster
	stop  chan struct{}
	acks  atomic.Int64
	again atomic.Int64 // tries at another node

	mu       sync.Mutex
	times    []time.Time // of acknowledgements; guarded by mu
	failures []string    // writes that failed at two nodes; guarded by mu
}

func (l *rollingLoad) failed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures
}

// restart stops and starts a node, -1 for none, and tells the longest gap between two acknowledgements meanwhile.
func (l *rollingLoad) restart(i int) (gap time.Duration) {
	begin := time.Now()
	if i >= 0 {
		l.c.signal(i, syscall.SIGTERM)
		l.c.restart(i)
	}
	back := time.Now()
	// The clients come back to the node: what happens then belongs to its restart.
	for n := l.acks.Load(); l.acks.Load() < n+200 && time.Since(back) < 20*time.Second; {
		time.Sleep(5 * time.Millisecond) // polls the count
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	from, _ := slices.BinarySearchFunc(l.times, begin, time.Time.Compare)
	var at time.Time
	for k := max(from, 1); k < len(l.times); k++ {
		if g := l.times[k].Sub(l.times[k-1]); g > gap {
			gap, at = g, l.times[k-1]
		}
	}
	l.c.t.Logf("node %d: %v without an acknowledged write, from %v after the signal; it served again after %v", i, gap.Round(time.Millisecond), at.Sub(begin).Round(time.Millisecond), back.Sub(begin).Round(time.Millisecond))
	return gap.Round(time.Millisecond)
}

func (l *rollingLoad) write(w int, r *rand.Rand) {
	account := l.c.Accounts[2+w]
	node, session := w%len(l.c.Nodes), rollingSession(nil)
	defer func() {
		if session != nil {
			session.end()
		}
	}()
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		default:
		}
		msg := generated(r, i)
		var errs []error
		for len(errs) < 2 {
			if session != nil && r.IntN(20) == 0 {
				session.end() // a client comes anew, to whatever node: also to one that does not run
				session, node = nil, r.IntN(len(l.c.Nodes))
			}
			err := error(nil)
			if session == nil {
				session, err = l.open(w, node, account)
			}
			if err == nil {
				if err = session.write(msg); err == nil {
					break
				}
			}
			errs = append(errs, fmt.Errorf("%s at %s: %w", time.Now().Format("15:04:05.000"), l.c.Nodes[node].Name, err))
			if session != nil {
				session.end()
			}
			session, node = nil, (node+1)%len(l.c.Nodes)
		}
		l.again.Add(int64(len(errs)))
		l.mu.Lock()
		if len(errs) == 2 {
			l.failures = append(l.failures, fmt.Sprint("a write failed at two nodes: ", errs))
		} else {
			l.times = append(l.times, time.Now())
			l.acks.Add(1)
		}
		l.mu.Unlock()
	}
}

// rollingSession is a session that lasts for many writes.
type rollingSession interface {
	write(msg []byte) error
	end()
}

// open begins a session at a node: every third client appends by IMAP, the others deliver by SMTP.
func (l *rollingLoad) open(w, node int, a dev.Account) (rollingSession, error) {
	if w%3 == 2 {
		c, err := dialIMAP(l.c.Nodes[node].IMAP, admin.AccountRequest{Address: a.Address, Password: a.Password})
		if err != nil {
			return nil, err
		}
		return imapSession{c}, nil
	}
	conn, err := net.DialTimeout("tcp", l.c.Nodes[node].SMTP, 2*time.Second)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return nil, err
	}
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		conn.Close()
		return nil, err
	}
	return smtpSession{c, a.Address}, nil
}

type smtpSession struct {
	c  *smtp.Client
	to string
}

func (s smtpSession) write(msg []byte) error {
	if err := s.c.Mail("sender@example.net"); err != nil {
		return err
	}
	if err := s.c.Rcpt(s.to); err != nil {
		return err
	}
	w, err := s.c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(msg); err != nil {
		return err
	}
	return w.Close()
}

func (s smtpSession) end() { _ = s.c.Close() }

type imapSession struct{ c *imapclient.Client }

func (s imapSession) write(msg []byte) error {
	_, err := appendMessage(s.c, "INBOX", bytes.Clone(msg))
	return err
}

func (s imapSession) end() { _ = s.c.Close() }
