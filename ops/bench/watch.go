package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

func (b *run) watchAll(ctx context.Context, wg *sync.WaitGroup) error {
	for i := range b.accounts {
		address := b.o.IMAP[b.o.watchAt(i)]
		c, n, err := imapSelect(ctx, address, b.o.Accounts[i])
		if err != nil {
			return fmt.Errorf("watch %s at %s: %w", b.o.Accounts[i].Address, address, err)
		}
		b.accounts[i].base, b.accounts[i].conn = n, c
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			defer c.Close()
			if err := b.watch(ctx, i); err != nil && ctx.Err() == nil {
				b.fail(fmt.Errorf("watch at %s: %w", address, err))
			}
		}()
	}
	return nil
}

func (b *run) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = err
}

// watch sits in IDLE until everything is sent, and then asks until everything is there: a server may tell what is new only now and then
// (Dovecot twice a second), which must not count as time that it took to deliver.
func (b *run) watch(ctx context.Context, i int) error {
	c := b.accounts[i].conn
	note := func(s string) {
		if n := existsIn(s); n > 0 {
			b.exists(i, n)
		}
	}
	if err := c.idle(note); err != nil {
		return err
	}
	for b.lacks(i) > 0 {
		if err := c.command("d", "NOOP", note); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(b.pause()):
		}
	}
	return nil
}

// pause is how long a watcher waits between two questions: a hundredth of the time so far, so that the rate is not off by more, nor the
// server kept busy by questions.
func (b *run) pause() time.Duration { return max(5*time.Millisecond, time.Since(b.start)/100) }

func (b *run) lacks(i int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.accounts[i].sent) - len(b.accounts[i].visible)
}

// idle stays in IDLE until DONE is sent or the connection ends.
func (c *conn) idle(untagged func(string)) error {
	if err := c.send("c IDLE\r\n"); err != nil {
		return err
	}
	for {
		if err := c.SetReadDeadline(time.Time{}); err != nil { // a quiet mailbox is no fault; the context closes the connection
			return err
		}
		s, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(s, "c "); ok {
			if !strings.HasPrefix(rest, "OK") {
				return fmt.Errorf("the server answered %q to IDLE", strings.TrimSpace(rest))
			}
			return nil
		}
		untagged(s)
	}
}

// allVisible waits until the watchers have seen everything. It gives up when for long nothing more appears.
func (b *run) allVisible(ctx context.Context) error {
	for i := range b.accounts {
		if err := b.accounts[i].conn.send("DONE\r\n"); err != nil {
			return fmt.Errorf("end IDLE of %s: %w", b.o.Accounts[i].Address, err)
		}
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	last, progress := b.o.Messages+1, time.Now()
	for {
		missing, err := b.missing()
		if err != nil || missing == 0 {
			return err
		}
		if missing < last {
			last, progress = missing, time.Now()
		}
		if time.Since(progress) > replyTimeout {
			return fmt.Errorf("%d of %d messages are not visible, and for %v none became so", missing, b.o.Messages, replyTimeout)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (b *run) missing() (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for i := range b.accounts {
		n += len(b.accounts[i].sent) - len(b.accounts[i].visible)
	}
	return n, b.failed
}
