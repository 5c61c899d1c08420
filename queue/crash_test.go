package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Nodes are killed, cut off, restarted under their ids and replaced, proposals fail in every way, and other systems do what they do. Then all
// calms down: whatever was accepted was delivered or returned, nothing waits, and nobody got more copies than there were crashes that
// fell into attempts at him.
func TestEachRecipientIsServedWhateverCrashes(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				s := &storm{w: w, r: rand.New(rand.NewPCG(seed, 3)), processes: map[string]*process{}, bounced: map[string]bool{}}
				s.run()
			}, "a", "b", "c")
		})
	}
}

type storm struct {
	w    *world
	mu   sync.Mutex
	r    *rand.Rand // guarded by mu
	calm bool       // guarded by mu

	processes map[string]*process
	ends      sync.WaitGroup // of killed processes
	sent      []string       // what was accepted: queue id and address
	bounced   map[string]bool
	an        uint64
}

func (s *storm) chance(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.IntN(n) == 0
}

func (s *storm) number(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.IntN(n)
}

func (s *storm) calms() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calm
}

func (s *storm) run() {
	w := s.w
	s.an = w.account("an@here.test")
	w.account("postmaster@here.test")
	w.sender.set(s.others)
	for _, n := range w.nodes {
		n.fault = s.fault
	}
	for id := range w.nodes {
		s.begin(id)
	}
	for i := range 150 {
		s.accept(i)
		elapse(time.Duration(s.number(4000)) * time.Millisecond)
		if s.chance(4) {
			s.trouble([]string{"a", "b", "c"}[s.number(3)])
		}
	}
	s.mu.Lock()
	s.calm = true
	s.mu.Unlock()
	for id := range w.nodes {
		s.begin(id)
	}
	w.pass(3 * time.Hour)
	s.ends.Wait()
	s.judge()
}

// begin starts a node's process, or lets it take part again.
func (s *storm) begin(id string) {
	w, n := s.w, s.w.nodes[id]
	w.mu.Lock()
	running := n.m != nil
	n.away = false
	if running {
		s.processes[id].dead = false
	}
	w.mu.Unlock()
	if !running {
		w.start(id, func(c *Config) { s.processes[id] = c.Store.(*process) })
	}
	s.elect()
}

// trouble kills a node's process, cuts it off, or ends either.
func (s *storm) trouble(id string) {
	w, n := s.w, s.w.nodes[id]
	w.mu.Lock()
	running := n.m != nil && !n.away
	w.mu.Unlock()
	if !running {
		s.begin(id)
		return
	}
	w.set(func() { n.away, s.processes[id].dead = true, true })
	if s.chance(2) { // killed: what it had sent may still arrive, what it says does not
		w.set(func() { n.m = nil })
		s.ends.Go(n.stop)
		if s.chance(2) {
			s.begin(id) // and restarted at once
		}
	}
	s.elect()
}

func (s *storm) elect() {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range []string{"a", "b", "c"} {
		if !w.nodes[id].away {
			w.leader = id
			return
		}
	}
}

func (s *storm) fault(*storepb.Command) fault { // under w.mu
	if s.calms() {
		return none
	}
	switch s.number(20) {
	case 0:
		return refused
	case 1:
		return unheard
	case 2:
		return unspoken
	}
	return none
}

// others are the other systems.
func (s *storm) others(ctx context.Context, m *Message, e *storepb.QueueEntry) Outcome {
	if s.calms() && !strings.HasPrefix(e.Address, "gone") {
		return Outcome{Result: store.AttemptDelivered, Code: 250}
	}
	pause(ctx, time.Duration(s.number(8000))*time.Millisecond)
	switch {
	case strings.HasPrefix(e.Address, "gone"):
		return unknownUser(ctx, m, e)
	case s.chance(4):
		return busy(ctx, m, e)
	case s.chance(15):
		return down(ctx, m, e)
	}
	return Outcome{Result: store.AttemptDelivered, Code: 250} // also when the sender hears of it no more
}

func (s *storm) accept(i int) {
	id := fmt.Sprint("q", i)
	node := []string{"a", "b", "c"}[s.number(3)]
	q := elsewhere("x@far.test", "y@far.test", "z@near.test")[:1+s.number(3)]
	if s.chance(5) {
		q = append(q, elsewhere("gone@near.test")...)
		s.bounced[id] = true
	}
	for _, e := range q {
		if !strings.HasPrefix(e.Address, "gone") {
			s.sent = append(s.sent, id+" "+e.Address)
		}
	}
	s.w.accept(mail{node: node, id: id, from: "an@here.test", queued: q})
}

func (s *storm) judge() {
	w := s.w
	if left := w.entries(); len(left) != 0 {
		w.t.Errorf("%d still wait, such as %v", len(left), left[0])
	}
	doubled, allowed := 0, 0
	for _, what := range s.sent {
		crashes := s.interrupted(what)
		n := w.sender.copies(what)
		if n < 1 || n > 1+crashes {
			w.t.Errorf("%s has %d copies, and %d crashes fell into attempts: %v", what, n, crashes, w.kinds(strings.Fields(what)[0]))
		}
		doubled, allowed = doubled+n-1, allowed+crashes
	}
	if allowed == 0 {
		w.t.Error("no crash fell into an attempt: this proves nothing")
	}
	for id := range s.bounced {
		if n := count(w.inbox(s.an), "Message-ID: <"+id+"@here.test>"); n != 1 {
			w.t.Errorf("of the failure of %s the sender has %d notices, want 1", id, n)
		}
	}
	w.t.Logf("%d recipients, %d crashes fell into attempts, %d copies too many", len(s.sent), allowed, doubled)
}

// interrupted is how many attempts at a recipient are known to have been cut short by a crash.
func (s *storm) interrupted(what string) (n int) {
	id, address, _ := strings.Cut(what, " ")
	v := s.w.nodes["a"].machine.View()
	defer v.Close()
	if err := v.TraceOf(id, func(e *storepb.TraceEvent) bool {
		if e.Address == address && strings.Contains(e.Text, "how it ended is not known") {
			n++
		}
		return true
	}); err != nil {
		s.w.t.Fatal(err)
	}
	return n
}
