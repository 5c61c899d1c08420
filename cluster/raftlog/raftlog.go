// Package raftlog keeps the replicated log on this node's disk so that what it says is what was written, or the node stops.
//
// It wraps raft-wal or raft-boltdb with three things of our own: a checksum per entry, verified when it is read; an error or a hang
// of a write ends the process, for a leader that cannot write keeps leading and nothing moves; and folders are synced, so that a
// new log survives a loss of power.
package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"

	"github.com/quorumail/quorumail/store/durable"
)

// ErrRot: an entry is not what was written.
var ErrRot = errors.New("the log is damaged: this node must be replaced under a new id")

// hangLimit is how long a write may take before the disk counts as dead.
const hangLimit = 3 * time.Second

// Config says where the log lives.
type Config struct {
	Dir     string
	Kind    string        // "wal" or "bolt"
	Hang    time.Duration // default 3 s
	OnFatal func(error)   // must end the process
}

// Log is the node's log, and the store of its term and vote.
type Log struct {
	raft.StableStore
	cfg   Config
	log   raft.LogStore
	close []func() error
	began atomic.Int64 // UnixNano at which the write under way began, 0 for none
	stop  chan struct{}
}

// Open opens or makes the log.
func Open(cfg Config) (*Log, error) {
	if cfg.Hang == 0 {
		cfg.Hang = hangLimit
	}
	logDir := filepath.Join(cfg.Dir, cfg.Kind)
	if err := durable.MkdirAll(logDir, 0o700); err != nil {
		return nil, err
	}
	stable, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(cfg.Dir, "stable.db")})
	if err != nil {
		return nil, fmt.Errorf("open the store of term and vote: %w", err)
	}
	l := &Log{StableStore: stable, cfg: cfg, close: []func() error{stable.Close}, stop: make(chan struct{})}
	if err := l.openLog(logDir); err != nil {
		stable.Close()
		return nil, err
	}
	for _, dir := range []string{logDir, cfg.Dir} {
		if err := durable.SyncDir(dir); err != nil {
			l.Close()
			return nil, err
		}
	}
	go l.watch()
	return l, nil
}

func (l *Log) openLog(dir string) error {
	switch l.cfg.Kind {
	case "wal":
		w, err := wal.Open(dir, wal.WithLogger(hclog.New(&hclog.LoggerOptions{Level: hclog.Error})))
		if err != nil {
			return fmt.Errorf("open the log: %w", err)
		}
		l.log = w
		l.close = append(l.close, w.Close)
	case "bolt":
		b, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "log.db")})
		if err != nil {
			return fmt.Errorf("open the log: %w", err)
		}
		l.log = b
		l.close = append(l.close, b.Close)
	default:
		return fmt.Errorf("there is no log store %q: choose \"wal\" or \"bolt\"", l.cfg.Kind)
	}
	return nil
}

// watch ends the process when a write hangs.
func (l *Log) watch() {
	t := time.NewTicker(l.cfg.Hang / 10)
	defer t.Stop()
	for {
		select {
		case <-l.stop:
			return
		case now := <-t.C:
			if began := l.began.Load(); began != 0 && now.UnixNano()-began > int64(l.cfg.Hang) {
				l.cfg.OnFatal(fmt.Errorf("a write of the log has taken longer than %v: the disk hangs", l.cfg.Hang))
				return
			}
		}
	}
}

// IsMonotonic tells Raft that a gap needs the old log removed first, as raft-wal demands.
func (l *Log) IsMonotonic() bool {
	m, ok := l.log.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// FirstIndex is the index of the oldest entry, 0 for none.
func (l *Log) FirstIndex() (uint64, error) { return l.log.FirstIndex() }

// LastIndex is the index of the newest entry, 0 for none.
func (l *Log) LastIndex() (uint64, error) { return l.log.LastIndex() }

// DeleteRange removes entries, inclusively.
func (l *Log) DeleteRange(first, last uint64) error {
	if err := l.log.DeleteRange(first, last); err != nil {
		l.cfg.OnFatal(fmt.Errorf("truncate the log: %w", err))
		return err
	}
	return nil
}

// StoreLog writes one entry.
func (l *Log) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs writes entries durably. It does not return an error: it ends the process.
func (l *Log) StoreLogs(entries []*raft.Log) error {
	sealed := make([]*raft.Log, len(entries))
	for i, e := range entries {
		c := *e
		c.Data = seal(e)
		sealed[i] = &c
	}
	l.began.Store(time.Now().UnixNano())
	err := l.log.StoreLogs(sealed)
	l.began.Store(0)
	if err != nil {
		l.cfg.OnFatal(fmt.Errorf("write the log: %w", err))
	}
	return err
}

// GetLog reads an entry. ErrRot when it is not what was written: such a node may neither lead nor vote, so it stops.
func (l *Log) GetLog(index uint64, e *raft.Log) error {
	if err := l.log.GetLog(index, e); err != nil {
		if !errors.Is(err, raft.ErrLogNotFound) {
			l.cfg.OnFatal(fmt.Errorf("read entry %d: %w: %w", index, ErrRot, err))
		}
		return err
	}
	if err := unseal(index, e); err != nil {
		l.cfg.OnFatal(err)
		return err
	}
	return nil
}

// Verify reads every entry.
func (l *Log) Verify() error {
	first, err := l.FirstIndex()
	if err != nil {
		return fmt.Errorf("find the first entry: %w", err)
	}
	last, err := l.LastIndex()
	if err != nil {
		return fmt.Errorf("find the last entry: %w", err)
	}
	for i := first; i <= last && first > 0; i++ {
		var e raft.Log
		if err := l.log.GetLog(i, &e); err != nil {
			return fmt.Errorf("read entry %d: %w: %w", i, ErrRot, err)
		}
		if err := unseal(i, &e); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the stores.
func (l *Log) Close() error {
	close(l.stop)
	var errs []error
	for i := len(l.close) - 1; i >= 0; i-- {
		errs = append(errs, l.close[i]())
	}
	return errors.Join(errs...)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(e *raft.Log, data []byte) uint32 {
	var h [17]byte
	binary.BigEndian.PutUint64(h[:], e.Index)
	binary.BigEndian.PutUint64(h[8:], e.Term)
	h[16] = byte(e.Type)
	return crc32.Update(crc32.Checksum(h[:], castagnoli), castagnoli, data)
}

func seal(e *raft.Log) []byte {
	out := make([]byte, 0, len(e.Data)+4)
	out = append(out, e.Data...)
	return binary.BigEndian.AppendUint32(out, sum(e, e.Data))
}

func unseal(index uint64, e *raft.Log) error {
	n := len(e.Data) - 4
	if n < 0 || e.Index != index || binary.BigEndian.Uint32(e.Data[n:]) != sum(e, e.Data[:n]) {
		return fmt.Errorf("entry %d: %w", index, ErrRot)
	}
	e.Data = e.Data[:n]
	return nil
}
