package backup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/durable"
	"github.com/quorumail/quorumail/store/state"
)

// Source is a node of the cluster, as far as a backup needs it.
type Source interface {
	// Hold keeps sweeps from taking anything for a time, in the cluster's replicated time, and returns when it holds at this node. With
	// renew, it is store.ErrNotFound if the hold has lapsed. A time of 0 ends it.
	Hold(ctx context.Context, id [16]byte, keep time.Duration, renew bool) error
	// Checkpoint streams the node's replicated state.
	Checkpoint(ctx context.Context) (io.ReadCloser, error)
	// Bodies streams the containers of live bodies, as SendBodies writes them.
	Bodies(ctx context.Context, ids []store.BodyID) (io.ReadCloser, error)
}

const (
	// holdFor is how long sweeps wait after a backup has died; renewEvery leaves several attempts.
	holdFor    = 15 * time.Minute
	renewEvery = 2 * time.Minute
	// page is how many bodies are asked for at a time.
	page = 500
	// attempts is how often a page is asked for: a body that turned out to be corrupt comes from a peer the next time.
	attempts = 4
)

// Report says what a Take did.
type Report struct {
	Manifest
	Copied      int64 `json:"copied"`       // bodies that were not there
	CopiedBytes int64 `json:"copied_bytes"` // of their containers
	Dropped     int64 `json:"dropped"`      // bodies that the backup before referred to, and this one does not
}

// Take brings the backup in dir up to date, or makes the first one there. dir is created.
func Take(ctx context.Context, src Source, dir string, log *slog.Logger) (Report, error) {
	t := &taker{src: src, dir: dir, log: log}
	if err := t.open(); err != nil {
		return t.report, err
	}
	err := t.run(ctx)
	return t.report, errors.Join(err, t.bodies.Close())
}

type taker struct {
	src    Source
	dir    string
	log    *slog.Logger
	bodies *blob.Disk
	report Report
}

func (t *taker) open() (err error) {
	if err := durable.MkdirAll(t.dir, 0o700); err != nil {
		return err
	}
	t.bodies, err = openBodies(t.dir)
	return err
}

// openBodies opens a backup's bodies; only one process may.
func openBodies(dir string) (*blob.Disk, error) {
	b, err := blob.Open(blob.Config{Dir: filepath.Join(dir, bodiesDir), OnFatal: func(error) {}}) // what fails afterwards says so
	if err != nil {
		return nil, fmt.Errorf("open the backup (is another process at it?): %w", err)
	}
	return b, nil
}

func (t *taker) run(ctx context.Context) error {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	if err := t.src.Hold(ctx, id, holdFor, false); err != nil {
		return fmt.Errorf("hold sweeps: %w", err)
	}
	defer t.letGo(ctx, id)
	if err := t.holding(ctx, id); err != nil {
		return err
	}
	// Had the hold lapsed for a moment, this would be refused: so nothing went while the bodies were copied.
	if err := t.src.Hold(ctx, id, holdFor, true); err != nil {
		return fmt.Errorf("the hold on sweeps did not last: %w", err)
	}
	if err := t.report.Manifest.write(t.dir); err != nil {
		return err
	}
	return t.prune(ctx)
}

// holding copies while the hold is renewed.
func (t *taker) holding(ctx context.Context, id [16]byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); t.keepHolding(ctx, cancel, id) }()
	err := t.copy(ctx)
	if err != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	cancel(nil)
	<-ended
	return err
}

// letGo ends the hold; if that fails, it ends by itself.
func (t *taker) letGo(ctx context.Context, id [16]byte) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := t.src.Hold(ctx, id, 0, false); err != nil {
		t.log.Warn("the hold on sweeps was not ended, and ends by itself", "pkg", "backup", "err", err)
	}
}

// keepHolding renews the hold until ctx ends. It ends ctx when the hold has lapsed.
func (t *taker) keepHolding(ctx context.Context, cancel context.CancelCauseFunc, id [16]byte) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := t.src.Hold(ctx, id, holdFor, true)
		if errors.Is(err, store.ErrNotFound) {
			cancel(fmt.Errorf("the hold on sweeps has lapsed: %w", err))
			return
		}
		if err != nil && ctx.Err() == nil {
			t.log.Warn("renew the hold on sweeps", "pkg", "backup", "err", err)
		}
	}
}

// copy brings the checkpoint, then the bodies, and fills in the manifest.
func (t *taker) copy(ctx context.Context) error {
	if err := t.checkpoint(ctx); err != nil {
		return fmt.Errorf("copy the state: %w", err)
	}
	var missing []store.BodyID
	err := eachBody(t.dir, t.report.Manifest, func(id store.BodyID) error {
		if has, err := t.bodies.Has(id); err != nil || has {
			return err
		}
		if missing = append(missing, id); len(missing) < page {
			return ctx.Err()
		}
		defer func() { missing = missing[:0] }()
		return t.bring(ctx, missing)
	})
	if err == nil && len(missing) > 0 {
		err = t.bring(ctx, missing)
	}
	if err != nil {
		return fmt.Errorf("copy the bodies: %w", err)
	}
	return t.close()
}

// checkpoint writes the state's stream into a file of its own.
func (t *taker) checkpoint(ctx context.Context) (err error) {
	r, err := t.src.Checkpoint(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	name := statePrefix + "new-" + hex.EncodeToString(random[:])
	f, err := os.OpenFile(filepath.Join(t.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), r)
	if err == nil {
		err = durable.SyncFile(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	t.report.Manifest = Manifest{Format: manifestFormat, Taken: time.Now().UTC(), State: name, StateBytes: n, StateSHA256: hex.EncodeToString(h.Sum(nil))}
	pos, err := readState(t.dir, t.report.Manifest, func(store.BodyID) error { return nil })
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	m := &t.report.Manifest
	m.Index, m.Term = pos.Index, pos.Term
	m.State = fmt.Sprintf("%s%d-%s", statePrefix, pos.Index, hex.EncodeToString(random[:]))
	return durable.Rename(f.Name(), filepath.Join(t.dir, m.State))
}

// bring copies bodies, makes them durable, and reads them back.
func (t *taker) bring(ctx context.Context, ids []store.BodyID) error {
	var err error
	for range attempts {
		var left []store.BodyID
		for _, id := range ids {
			if has, herr := t.bodies.Has(id); herr != nil {
				return herr
			} else if !has {
				left = append(left, id)
			}
		}
		if len(left) == 0 {
			err = nil
			break
		}
		if err = t.ask(ctx, left); err == nil || ctx.Err() != nil {
			break
		}
		t.log.Warn("copy bodies, and try again", "pkg", "backup", "err", err)
	}
	if err != nil {
		return err
	}
	if err := t.bodies.Sync(); err != nil {
		return err
	}
	for _, id := range ids {
		if err := t.bodies.Verify(id); err != nil {
			return fmt.Errorf("read body %v back: %w", id, err)
		}
	}
	return nil
}

func (t *taker) ask(ctx context.Context, ids []store.BodyID) error {
	r, err := t.src.Bodies(ctx, ids)
	if err != nil {
		return err
	}
	defer r.Close()
	return ReceiveBodies(r, ids, func(id store.BodyID, encoded io.Reader, size int64) error {
		if err := t.bodies.Put(ctx, id, 1, encoded, size, false); err != nil {
			return err
		}
		t.report.Copied++
		t.report.CopiedBytes += size
		return nil
	})
}

// close checks that every reference has its body.
func (t *taker) close() error {
	h := sha256.New()
	m := &t.report.Manifest
	err := eachBody(t.dir, *m, func(id store.BodyID) error {
		m.Bodies++
		h.Write(id[:])
		has, err := t.bodies.Has(id)
		if err == nil && !has {
			err = fmt.Errorf("body %v is not there after all: %w", id, store.ErrNotFound)
		}
		return err
	})
	m.BodiesHash = hex.EncodeToString(h.Sum(nil))
	return err
}

// prune drops what the manifest does not need: bodies, and older checkpoints. Both walks are in the order of ids.
func (t *taker) prune(ctx context.Context) error {
	var dead []store.BodyID
	needed := make(chan store.BodyID, page)
	failed := make(chan error, 1)
	go func() {
		defer close(needed)
		failed <- eachBody(t.dir, t.report.Manifest, func(id store.BodyID) error { needed <- id; return nil })
	}()
	next, more := <-needed
	err := t.bodies.Each(func(id store.BodyID, _ uint64, _ int64) error {
		for more && string(next[:]) < string(id[:]) {
			next, more = <-needed
		}
		if !more || next != id {
			dead = append(dead, id)
		}
		return nil
	})
	for more { // lets the other walk end
		_, more = <-needed
	}
	if err := errors.Join(err, <-failed); err != nil {
		return fmt.Errorf("look for bodies that are needed no longer: %w", err)
	}
	for _, id := range dead {
		if err := t.bodies.Delete(id); err != nil {
			return fmt.Errorf("drop a body: %w", err)
		}
		t.report.Dropped++
	}
	if err := t.bodies.Compact(ctx); err != nil {
		return fmt.Errorf("give the space of dropped bodies back: %w", err)
	}
	return t.pruneStates()
}

func (t *taker) pruneStates() error {
	list, err := os.ReadDir(t.dir)
	if err != nil {
		return fmt.Errorf("look for older states: %w", err)
	}
	for _, e := range list {
		if name := e.Name(); strings.HasPrefix(name, statePrefix) && name != t.report.State {
			if err := durable.Remove(filepath.Join(t.dir, name)); err != nil {
				return fmt.Errorf("remove an older state: %w", err)
			}
		}
	}
	return nil
}

// eachBody calls f for each body that a backup's state refers to, in order.
func eachBody(dir string, m Manifest, f func(store.BodyID) error) error {
	_, err := readState(dir, m, f)
	return err
}

// position is where a state is in its cluster's log.
type position struct{ Index, Term uint64 }

// readState reads a backup's checkpoint and compares it with the manifest.
func readState(dir string, m Manifest, f func(store.BodyID) error) (position, error) {
	file, err := os.Open(filepath.Join(dir, m.State))
	if err != nil {
		return position{}, fmt.Errorf("open the backup's state: %w", err)
	}
	defer file.Close()
	h := &counter{h: sha256.New()}
	pos, _, err := state.CheckpointBodies(io.TeeReader(file, h), f)
	if err != nil {
		return position{}, fmt.Errorf("read the backup's state: %w", err)
	}
	if h.n != m.StateBytes || hex.EncodeToString(h.h.Sum(nil)) != m.StateSHA256 {
		return position{}, errors.New("the backup's state is not the one that its manifest names")
	}
	return position{pos.Index, pos.Term}, nil
}

type counter struct {
	h hash.Hash
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.h.Write(p)
}
