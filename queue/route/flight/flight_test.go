package flight

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestWorkIsDoneOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string, int]
		open, works, got := make(chan struct{}), 0, make(chan int, 10)
		for range 10 {
			go func() {
				v, err := g.Do(t.Context(), "x", func() (int, error) { works++; <-open; return 7, nil })
				if err != nil {
					t.Error(err)
				}
				got <- v
			}()
		}
		synctest.Wait()
		close(open)
		for range 10 {
			if v := <-got; v != 7 {
				t.Errorf("got %d", v)
			}
		}
		if works != 1 {
			t.Errorf("worked %d times", works)
		}
	})
}

// Who works and has to stop, by the end of his time or by a panic, leaves the work to the next.
func TestTheNextTakesOver(t *testing.T) {
	stop := errors.New("stop")
	for name, fail := range map[string]func(cancel func()) (int, error){
		"cancelled": func(cancel func()) (int, error) { cancel(); return 0, stop },
		"panic":     func(func()) (int, error) { panic(stop) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g Group[string, int]
				open := make(chan struct{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() {
					defer func() { _ = recover() }()
					_, _ = g.Do(ctx, "x", func() (int, error) { <-open; return fail(cancel) })
				}()
				synctest.Wait()
				got := make(chan int)
				go func() {
					v, err := g.Do(t.Context(), "x", func() (int, error) { return 8, nil })
					if err != nil {
						t.Error(err)
					}
					got <- v
				}()
				synctest.Wait()
				close(open)
				if v := <-got; v != 8 {
					t.Errorf("got %d", v)
				}
			})
		})
	}
}

// An error of the work itself is everybody's.
func TestErrorsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string, int]
		open, broken, got := make(chan struct{}), errors.New("broken"), make(chan error, 2)
		for range 2 {
			go func() {
				_, err := g.Do(t.Context(), "x", func() (int, error) { <-open; return 0, broken })
				got <- err
			}()
		}
		synctest.Wait()
		close(open)
		for range 2 {
			if err := <-got; !errors.Is(err, broken) {
				t.Error(err)
			}
		}
	})
}
