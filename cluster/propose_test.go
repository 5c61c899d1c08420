package cluster

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// inTime is a context that only a test which hangs would outlast.
func inTime(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// brief is a context for what must end without success. How long it is does not decide the test.
func brief(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func (l *lab) followers() (out []*member) {
	lead := l.leader()
	for _, m := range l.members {
		if m != lead {
			out = append(out, m)
		}
	}
	return out
}

// isolate cuts a member from all others, in both directions.
func (l *lab) isolate(m *member) {
	gone := errors.New("cut off")
	m.cfg.Port.Admit(func(string) error { return gone })
	for _, o := range l.members {
		if o != m {
			o.cfg.Port.Admit(func(id string) error {
				if ServerID(id) == m.id {
					return gone
				}
				return nil
			})
		}
		o.cfg.Port.DropRefused()
	}
}

// moveLead makes another member than m lead.
func (l *lab) moveLead(m *member) {
	l.t.Helper()
	l.until("another one leads", func() bool {
		if m.IsLeader() {
			_ = m.TransferLeadership() // on a busy machine the others may not be ready in time
		}
		return !m.IsLeader()
	})
}

func (l *lab) heal() {
	for _, m := range l.members {
		m.cfg.Port.Admit(func(string) error { return nil })
	}
}

func TestForwardedProposalSurvivesAChangeOfLeader(t *testing.T) {
	l := newLab(t, 3)
	old, others := l.leader(), l.followers()
	arrived := make(chan struct{}, 64)
	// The leader takes the proposal and never answers, as one does whose machine is paused.
	old.Handle("propose", func(ctx context.Context, _ ServerID, _ []byte) ([]byte, error) {
		arrived <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	done := make(chan error, 1)
	go func() { done <- others[0].Propose(inTime(t), []byte("x")) }()
	<-arrived
	l.moveLead(old)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := others[1].ReadBarrier(inTime(t)); err != nil {
		t.Fatal(err)
	}
	if got := others[1].machine.list(); !slices.Contains(got, "x") {
		t.Errorf("the proposal is lost: %q", got)
	}
}

func TestRefusalsAndUnknownOutcomesAreToldApart(t *testing.T) {
	l := newSteadyLab(t, 3)
	lead, m := l.leader(), l.followers()[0]
	var calls atomic.Int64
	for _, c := range []struct {
		name  string
		h     func(ctx context.Context, _ ServerID, _ []byte) ([]byte, error)
		maybe bool
	}{
		{"the leader refuses", func(context.Context, ServerID, []byte) ([]byte, error) {
			return verdict(verdictRefused, errNotLeader), nil
		}, false},
		{"the leader lost the lead", func(context.Context, ServerID, []byte) ([]byte, error) {
			return verdict(verdictUnknown, errors.New("lost")), nil
		}, true},
		{"the leader does not answer", func(ctx context.Context, _ ServerID, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }, true},
		{"the leader fails in an unknown way", func(context.Context, ServerID, []byte) ([]byte, error) { return nil, errors.New("?") }, true},
		{"the leader answers rubbish", func(context.Context, ServerID, []byte) ([]byte, error) { return nil, nil }, true},
	} {
		calls.Store(0)
		for _, x := range l.members { // whoever leads by now
			x.Handle("propose", func(ctx context.Context, from ServerID, req []byte) ([]byte, error) {
				calls.Add(1)
				return c.h(ctx, from, req)
			})
		}
		l.until("the proposal reached the leader", func() bool {
			if m.IsLeader() {
				t.Skip("the lead moved to the node that was to forward, as on a machine without time to spare")
			}
			maybe, err := m.proposeOnce(brief(t), []byte("x"), nil)
			if calls.Load() == 0 {
				return false
			}
			if err == nil || maybe != c.maybe {
				t.Errorf("%s: maybe appended: %v; %v", c.name, maybe, err)
			}
			return true
		})
	}
	if l.leader() != lead {
		t.Skip("the lead moved")
	}
	// Once unknown, a later refusal does not make it definite.
	calls.Store(0)
	ctx, cancel := context.WithCancel(t.Context())
	lead.Handle("propose", func(context.Context, ServerID, []byte) ([]byte, error) {
		switch calls.Add(1) {
		case 1:
			return verdict(verdictUnknown, errors.New("lost")), nil
		case 3:
			cancel()
		}
		return verdict(verdictRefused, errNotLeader), nil
	})
	if err := m.Propose(ctx, []byte("x")); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("unknown, then refused: %v", err)
	}
	cancel()
	// Nothing was sent at all.
	if err := m.Propose(ctx, []byte("x")); err == nil {
		t.Error("a proposal whose context has ended was committed")
	}
}

func TestWhatRaftSaysOfAProposal(t *testing.T) {
	for err, want := range map[error]bool{
		nil: false, raft.ErrNotLeader: false, raft.ErrEnqueueTimeout: false, raft.ErrLeadershipTransferInProgress: false,
		raft.ErrLeadershipLost: true, raft.ErrRaftShutdown: true, errors.New("disk"): true,
	} {
		if appended(err) != want {
			t.Errorf("%v: maybe appended: %v", err, !want)
		}
	}
}

func TestProposalsWithoutARoomAreRefusedAtOnce(t *testing.T) {
	l := newSteadyLab(t, 3)
	lead, m := l.leader(), l.followers()[0]
	if err := m.Propose(inTime(t), make([]byte, MaxCommandBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a command that is too large: %v", err)
	}
	var full []int
	for m.own.enter(MaxCommandBytes) {
		full = append(full, MaxCommandBytes)
	}
	if err := m.Propose(inTime(t), make([]byte, MaxCommandBytes)); !errors.Is(err, ErrBusy) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("one too many: %v", err)
	}
	for _, size := range full {
		m.own.leave(size)
	}
	// What a follower hands over is bounded too, and says that nothing happened.
	for lead.served.enter(MaxCommandBytes) {
	}
	if res, err := lead.handlePropose(inTime(t), m.id, []byte("x")); err != nil || len(res) == 0 || res[0] != verdictRefused {
		t.Errorf("a leader without room: %q %v", res, err)
	}
	if !lead.own.enter(1) {
		t.Error("the leader's own proposals have no room either")
	}
}

func TestLargestCommandReachesEveryNode(t *testing.T) {
	l := newLab(t, 2)
	big := make([]byte, MaxCommandBytes)
	big[0] = 'x'
	m := l.followers()[0]
	if err := m.Propose(inTime(t), big); err != nil {
		t.Fatal(err)
	}
	if err := m.ReadBarrier(inTime(t)); err != nil {
		t.Fatal(err)
	}
	if got := m.machine.list(); len(got) != 1 || len(got[0]) != MaxCommandBytes {
		t.Errorf("%d commands arrived", len(got))
	}
}

func TestNothingHangsWhenTheNodeStops(t *testing.T) {
	l := newLab(t, 3)
	m := l.followers()[0]
	for _, o := range l.members {
		if o != m {
			l.stop(o)
		}
	}
	errs := make(chan error, 2)
	node := m.Node
	go func() { errs <- node.Propose(t.Context(), []byte("x")) }() // contexts without a deadline
	go func() { errs <- node.ReadBarrier(t.Context()) }()
	l.until("the proposal waits", func() bool { m.own.mu.Lock(); defer m.own.mu.Unlock(); return m.own.n == 1 })
	l.stop(m)
	for range 2 {
		select {
		case err := <-errs:
			if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("it ended with %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("it hangs")
		}
	}
}

func TestNoGoroutineStaysBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	l := newLab(t, 3)
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			m := l.members[i%3]
			if err := m.Propose(inTime(t), fmt.Appendf(nil, "n%d", i)); err != nil {
				t.Error(err)
			}
			if err := m.ReadBarrier(inTime(t)); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	for _, m := range l.members {
		l.stop(m)
	}
	l.until("every goroutine has ended", func() bool { return runtime.NumGoroutine() <= before })
}
