package queue

import (
	"context"
	"errors"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// batcher makes one command of what many jobs have to write at about the same time: while one is under way the next collects.
type batcher[T any] struct {
	propose func(ctx context.Context, items []T) ([]uint32, error)
	in      chan request[T]
	most    int // items of one command
}

type request[T any] struct {
	items  []T
	answer chan<- answer
}

type answer struct {
	codes []uint32 // for each item, in order
	err   error
}

func newBatcher[T any](most int, propose func(context.Context, []T) ([]uint32, error)) *batcher[T] {
	return &batcher[T]{propose: propose, in: make(chan request[T]), most: most}
}

// write hands items over and waits for what was answered. It ends when ctx does.
func (b *batcher[T]) write(ctx context.Context, items []T) ([]uint32, error) {
	a := make(chan answer, 1)
	select {
	case b.in <- request[T]{items, a}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case x := <-a:
		return x.codes, x.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run serves until ctx ends.
func (b *batcher[T]) run(ctx context.Context) {
	for {
		var batch []request[T]
		select {
		case r := <-b.in:
			batch = append(batch, r)
		case <-ctx.Done():
			return
		}
		batch = b.collect(batch)
		var items []T
		for _, r := range batch {
			items = append(items, r.items...)
		}
		codes, err := b.propose(ctx, items)
		for _, r := range batch {
			if err != nil {
				r.answer <- answer{err: err}
				continue
			}
			r.answer <- answer{codes: codes[:len(r.items)]}
			codes = codes[len(r.items):]
		}
	}
}

// linger is how long a command waits for company: short beside the fsync that it costs.
const linger = time.Millisecond

func (b *batcher[T]) collect(batch []request[T]) []request[T] {
	n := len(batch[0].items)
	t := time.NewTimer(linger)
	defer t.Stop()
	for n < b.most/2 { // one request has at most half of what a command takes
		select {
		case r := <-b.in:
			batch = append(batch, r)
			n += len(r.items)
		case <-t.C:
			return batch
		}
	}
	return batch
}

// maxRefs is how many entries one command of ours is about.
const maxRefs = 500

// writeAttempts proposes that attempts begin.
func (m *Manager) writeAttempts(ctx context.Context, refs []*storepb.QueueRef) ([]uint32, error) {
	return m.proposeCodes(ctx, len(refs), func(c *storepb.Command) {
		c.Op = &storepb.Command_QueueAttempt{QueueAttempt: &storepb.QueueAttempt{Refs: refs}}
	})
}

// writeOutcomes proposes what came of attempts, until it is known to be written: an outcome must not be lost while this process lives.
func (m *Manager) writeOutcomes(ctx context.Context, outcomes []*storepb.QueueOutcome) ([]uint32, error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		codes, err := m.proposeCodes(ctx, len(outcomes), func(c *storepb.Command) {
			c.Op = &storepb.Command_QueueOutcomes{QueueOutcomes: &storepb.QueueOutcomes{Outcomes: outcomes}}
		})
		if err == nil || !passing(err) {
			return codes, err
		}
		m.cfg.Logger.Debug("outcomes are not written yet", "count", len(outcomes), "err", err)
		if !pause(ctx, wait) {
			return nil, err
		}
	}
}

// passing: the same may be tried again. What is proposed here may be executed twice without harm.
func passing(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome) || errors.Is(err, store.ErrNoSpace)
}

func (m *Manager) proposeCodes(ctx context.Context, n int, fill func(*storepb.Command)) ([]uint32, error) {
	res, err := m.cfg.Store.Propose(ctx, fill)
	if err != nil {
		return nil, err
	}
	if len(res.Codes) != n {
		return nil, errors.New("queue: an answer for another number of entries")
	}
	return res.Codes, nil
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
