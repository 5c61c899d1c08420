package blob

import (
	"errors"
	"fmt"

	"github.com/quorumail/quorumail/store/broken"
	"github.com/quorumail/quorumail/store/durable"
)

// Sync implements Store.
func (d *Disk) Sync() error { return d.syncTo(d.AppendedPos(), nil) }

// errWaitEnded: the caller gave up. The bytes are written, and will be durable with the next fsync.
var errWaitEnded = errors.New("wait for an fsync ended early")

// syncTo returns when everything up to a position is durable. Of those that wait, one fsyncs for all that was appended by then; who
// comes while it does so waits for the next round, which begins at once. done ends the waiting for others.
func (d *Disk) syncTo(pos Pos, done <-chan struct{}) error {
	waited := false
	for {
		d.mu.Lock()
		if err := d.failed(); err != nil {
			d.mu.Unlock()
			return err
		}
		if d.synced >= pos {
			d.mu.Unlock()
			return nil
		}
		if !waited {
			d.stats.SyncWaits++
			waited = true
		}
		round := d.syncing
		if round == nil {
			d.lead()
			continue
		}
		d.mu.Unlock()
		select {
		case <-round:
		case <-done:
			return errWaitEnded
		}
	}
}

// lead does one round. d.mu is held, and is not when it returns.
func (d *Disk) lead() {
	round := make(chan struct{})
	d.syncing = round
	target, names := d.appended, d.newNames
	d.newNames = false
	sizes := map[*segment]int64{}
	for s := range d.dirty {
		sizes[s] = s.size
		delete(d.dirty, s)
	}
	d.mu.Unlock()

	err := d.fsync(sizes, names)

	d.mu.Lock()
	if err == nil {
		err = d.markSynced(sizes, target)
	}
	if err != nil {
		_ = d.fail(err) // the waiters find it
	}
	d.syncing = nil
	close(round)
	d.mu.Unlock()
}

func (d *Disk) fsync(sizes map[*segment]int64, names bool) error {
	if broken.On(broken.FsyncBody) {
		return nil
	}
	for s := range sizes {
		if err := durable.SyncData(s.file); err != nil {
			return fmt.Errorf("segment %d: %w", s.number, err)
		}
	}
	if names {
		return d.disk.SyncDir(d.config.Dir)
	}
	return nil
}

// markSynced notes what is durable. The note in the index may be lost; then Open looks at more than it needed to. d.mu is held.
func (d *Disk) markSynced(sizes map[*segment]int64, target Pos) error {
	c := d.change()
	for s, size := range sizes {
		s.synced = size
		c.segment(s.number)
	}
	err := c.commit()
	for s := range sizes {
		err = errors.Join(err, d.closeIfDone(s))
	}
	d.stats.Fsyncs += int64(len(sizes))
	d.synced = target
	return err
}
