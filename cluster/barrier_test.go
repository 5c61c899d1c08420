package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A leader that was cut off, as by a pause, must not answer from what it knows.
func TestBarrierAtADeposedLeaderSeesTheNewLeadersWrites(t *testing.T) {
	l := newLab(t, 3)
	old, others := l.leader(), l.followers()
	if err := old.ReadBarrier(inTime(t)); err != nil {
		t.Fatal(err)
	}
	l.isolate(old)
	l.until("another one leads", func() bool { return others[0].IsLeader() || others[1].IsLeader() })
	if err := others[0].Propose(inTime(t), []byte("later")); err != nil {
		t.Fatal(err)
	}
	if err := old.ReadBarrier(brief(t)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a barrier at the one that is cut off: %v", err)
	}
	l.heal()
	if err := old.ReadBarrier(inTime(t)); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(old.machine.list(), "later") {
		t.Error("after the barrier the old leader does not show what was committed before it")
	}
}

// says makes members answer the question for their term with that of the leader, and add.
func says(lead *member, add uint64, ms ...*member) {
	for _, m := range ms {
		m.Handle("term", func(context.Context, ServerID, []byte) ([]byte, error) {
			return binary.BigEndian.AppendUint64(nil, lead.raft.CurrentTerm()+add), nil
		})
	}
}

func TestBarrierNeedsAMajorityOfVotersInItsOwnTerm(t *testing.T) {
	l := newSteadyLab(t, 3)
	lead, others := l.leader(), l.followers()
	term := lead.raft.CurrentTerm()
	if err := lead.confirmTerm(inTime(t), term); err != nil {
		t.Fatal(err)
	}
	if err := lead.confirmTerm(inTime(t), term-1); err == nil {
		t.Error("an earlier term was confirmed")
	}
	says(lead, 1, others...)
	if _, err := lead.handleBarrier(inTime(t), "", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("both others know a later term: %v", err)
	}
	// A member without a vote that says what the leader wants to hear is not counted.
	extra := l.add("s3")
	says(lead, 0, extra)
	if _, err := lead.handleBarrier(inTime(t), "", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("only a member without a vote confirms: %v", err)
	}
	says(lead, 0, others[0])
	if _, err := lead.handleBarrier(inTime(t), "", nil); err != nil {
		t.Errorf("two of three voters: %v", err)
	}
}

func TestBarrierNotesItsIndexBeforeItAsks(t *testing.T) {
	l := newSteadyLab(t, 3)
	lead, others := l.leader(), l.followers()
	var once sync.Once
	for _, m := range others {
		m.Handle("term", func(context.Context, ServerID, []byte) ([]byte, error) {
			once.Do(func() {
				if err := lead.Propose(inTime(t), []byte("meanwhile")); err != nil {
					t.Error(err)
				}
			})
			return binary.BigEndian.AppendUint64(nil, lead.raft.CurrentTerm()), nil
		})
	}
	before := lead.Status().Applied
	res, err := lead.handleBarrier(inTime(t), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := binary.BigEndian.Uint64(res); got > before {
		t.Errorf("the index %d counts what was committed after the question began, at %d", got, before)
	}
}

func TestReadersShareOnlyRoundsWhoseIndexIsNotNoted(t *testing.T) {
	l := newSteadyLab(t, 3)
	lead, others := l.leader(), l.followers()
	reader := others[0]
	asked, release := make(chan struct{}, 64), make(chan struct{})
	for _, m := range others {
		m.Handle("term", func(ctx context.Context, _ ServerID, _ []byte) ([]byte, error) {
			asked <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
			return binary.BigEndian.AppendUint64(nil, lead.raft.CurrentTerm()), nil
		})
	}
	var rounds atomic.Int64
	lead.Handle("barrier", func(ctx context.Context, from ServerID, req []byte) ([]byte, error) {
		rounds.Add(1)
		return lead.handleBarrier(ctx, from, req)
	})
	first, began, term := make(chan error, 1), time.Now(), lead.raft.CurrentTerm()
	go func() { first <- reader.ReadBarrier(inTime(t)) }()
	<-asked // the index of the first round is noted
	if err := lead.Propose(inTime(t), []byte("between")); err != nil {
		t.Fatal(err)
	}
	const n = 20
	errs := make(chan error, n)
	for range n {
		go func() {
			err := reader.ReadBarrier(inTime(t))
			if err == nil && !slices.Contains(reader.machine.list(), "between") {
				err = fmt.Errorf("a reader that came after the write does not see it")
			}
			errs <- err
		}()
	}
	l.until("the readers wait for the next round", func() bool {
		reader.barrier.mu.Lock()
		defer reader.barrier.mu.Unlock()
		return reader.barrier.next != nil
	})
	close(release)
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	// The readers started at about the same time; not all need have come before the second round began. Where a round took too long, or
	// the lead moved, there were more, and nothing can be said.
	undisturbed := time.Since(began) < barrierTimeout && lead.raft.CurrentTerm() == term
	if got := rounds.Load(); got < 2 || undisturbed && got > n/2 {
		t.Errorf("%d rounds for %d readers", got, n+1)
	}
}

func TestBarrierIsAskedAgainWhenTheLeaderChanges(t *testing.T) {
	l := newLab(t, 3)
	old, reader := l.leader(), l.followers()[0]
	asked := make(chan struct{}, 64)
	old.Handle("barrier", func(ctx context.Context, _ ServerID, _ []byte) ([]byte, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	done := make(chan error, 1)
	go func() { done <- reader.ReadBarrier(inTime(t)) }()
	<-asked
	l.moveLead(old)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// After a restart the log may end in entries that no Machine sees, such as those with which leaders begin: nobody may wait for them.
func TestBarrierAfterElectionsWithoutCommands(t *testing.T) {
	l := newLab(t, 3)
	if err := l.leader().Propose(inTime(t), []byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l.moveLead(l.leader())
		for _, m := range l.members {
			if err := m.ReadBarrier(inTime(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
