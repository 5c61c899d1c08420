package clock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"
)

// ErrUnsupported: clocks of programs cannot be changed on this machine.
var ErrUnsupported = errors.New("no program can have a clock of its own here")

// maxOffset keeps the nanoseconds since 1970 within what the function can add, and after 1970.
const maxOffset = 50 * 365 * 24 * time.Hour

// Clock is the wall clock of one running program. Its methods may be called from several goroutines, but one change waits for the other.
type Clock struct {
	mem  *os.File // the program's memory
	data int64    // where the offsets lie in it

	mu     sync.Mutex
	slot   int           // the one that counts; guarded by mu
	offset time.Duration // what the clock is ahead of the machine's; guarded by mu
}

// Of takes over the clock of a program, which goes right at first; it needs the right to trace the program. The program stands for a few
// milliseconds. If another Clock has it already, that offset stays.
func Of(pid int) (*Clock, error) {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("take over the clock of %d: %w", pid, err)
	}
	c := &Clock{mem: mem}
	if err := c.take(pid); err != nil {
		return nil, errors.Join(fmt.Errorf("take over the clock of %d: %w", pid, err), mem.Close())
	}
	return c, nil
}

// Close lets go of the program, whose clock stays as it is.
func (c *Clock) Close() error { return c.mem.Close() }

// Offset is what the clock is ahead of the machine's.
func (c *Clock) Offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// Jump sets the clock forward, or back, from where it is. The error is os.ErrProcessDone when the program has ended, here and below.
func (c *Clock) Jump(by time.Duration) error { return c.set(c.Offset() + by) }

// Reset makes the clock go right.
func (c *Clock) Reset() error { return c.set(0) }

// Strobe lets the clock jump by an offset and back, each after half a period, until ctx ends; then it is as before.
func (c *Clock) Strobe(ctx context.Context, by, period time.Duration) error {
	if period < 2 {
		return fmt.Errorf("strobe with a period of %v: it must be longer", period)
	}
	base := c.Offset()
	for i := 1; ; i++ {
		if err := c.set(base + time.Duration(i%2)*by); err != nil {
			return err
		}
		if !sleep(ctx, period/2) {
			return c.set(base)
		}
	}
}

// Drift lets the clock gain so many seconds per second (0.05 is 5 %), or lose them if rate is negative, until ctx ends; it stays where it
// is then. The clock moves in small steps, so with a negative rate it goes back by each.
func (c *Clock) Drift(ctx context.Context, rate float64) error {
	if math.IsNaN(rate) || math.Abs(rate) > 1e6 {
		return fmt.Errorf("drift with the rate %v: it is not sensible", rate)
	}
	const step = 2 * time.Millisecond
	for base, began := c.Offset(), time.Now(); sleep(ctx, step); {
		if err := c.set(base + time.Duration(float64(time.Since(began))*rate)); err != nil {
			return err
		}
	}
	return nil
}

// sleep tells whether it was left in peace.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// set writes an offset into the slot that is longest out of use, and then makes that one count. A single byte is never half written, and
// a thread that has read the old number finds the old offset whole: it would have to sleep between two instructions while all the slots are
// used, and wake in the middle of a write of eight bytes.
func (c *Clock) set(offset time.Duration) error {
	if offset < -maxOffset || offset > maxOffset {
		return fmt.Errorf("set a clock %v ahead: more than %v", offset, maxOffset)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := (c.slot + 1) % slots
	if err := c.write(slotAt(next), binary.LittleEndian.AppendUint64(nil, uint64(offset))); err != nil {
		return err
	}
	if err := c.write(0, []byte{byte(next)}); err != nil {
		return err
	}
	c.slot, c.offset = next, offset
	return nil
}

func (c *Clock) write(at int64, b []byte) error {
	n, err := c.mem.WriteAt(b, c.data+at)
	if err == nil && n == len(b) {
		return nil
	}
	// The kernel says 0 bytes, no error, or EIO when the memory is gone.
	return fmt.Errorf("write the offset of a clock (%d bytes of %d, %w): %w", n, len(b), errors.Join(err), os.ErrProcessDone)
}
