package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBatcherJoinsWhatComesMeanwhileAndAnswersEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var sizes []int
		b := newBatcher(100, func(_ context.Context, items []int) ([]uint32, error) {
			sizes = append(sizes, len(items))
			elapse(time.Second)
			var codes []uint32
			for _, i := range items {
				codes = append(codes, uint32(i))
			}
			return codes, nil
		})
		var running sync.WaitGroup
		running.Go(func() { b.run(ctx) })
		var writers sync.WaitGroup
		for i := range 40 {
			writers.Go(func() {
				codes, err := b.write(ctx, []int{2 * i, 2*i + 1})
				if err != nil || !slices.Equal(codes, []uint32{uint32(2 * i), uint32(2*i + 1)}) {
					t.Errorf("request %d is answered %v, %v", i, codes, err)
				}
			})
		}
		writers.Wait()
		cancel()
		running.Wait()
		if len(sizes) > 3 || slices.Max(sizes) > 100 {
			t.Errorf("the commands were about %v items, want few of at most 100", sizes)
		}
	})
}

func TestBatcherPassesErrorsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		wrong := errors.New("wrong")
		b := newBatcher(100, func(context.Context, []int) ([]uint32, error) { return nil, wrong })
		var running sync.WaitGroup
		running.Go(func() { b.run(ctx) })
		if _, err := b.write(ctx, []int{1}); !errors.Is(err, wrong) {
			t.Errorf("the answer is %v", err)
		}
		cancel()
		running.Wait()
		if _, err := b.write(ctx, []int{1}); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end the answer is %v", err)
		}
	})
}
