package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/quorumail/quorumail/cluster/raftlog"
	"github.com/quorumail/quorumail/store/broken"
	"github.com/quorumail/quorumail/store/durable"
)

// installMark says, on the disk, that a checkpoint is about to replace this node's state, and that the log of before it has to go. It
// is written before Machine.Restore begins and removed when the new log has its first entry. Only under it may a log that does not
// reach the state be dropped, or be empty; without it such a log is a lost disk.
type installMark struct {
	Index    uint64 `json:"index"` // of the checkpoint
	Term     uint64 `json:"term"`
	LogEmpty bool   `json:"logEmpty"` // there was no log to drop
}

func (m installMark) is(p Position) bool { return m.Index == p.Index && m.Term == p.Term }

// installs keeps the mark.
type installs struct {
	disk durable.Disk
	path string
	on   atomic.Bool // a mark is there and goes with the next entry
}

func newInstalls(disk durable.Disk, raftDir string) *installs {
	return &installs{disk: disk, path: filepath.Join(raftDir, "install.json")}
}

func (i *installs) begin(m installMark) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := i.disk.WriteFile(i.path, raw, 0o600); err != nil {
		return fmt.Errorf("note that a checkpoint is being installed: %w", err)
	}
	i.on.Store(true)
	return nil
}

func (i *installs) read() (m installMark, found bool, err error) {
	raw, err := i.disk.ReadFile(i.path, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		return m, false, fmt.Errorf("read the note of a checkpoint that was being installed: %w", err)
	}
	i.on.Store(true)
	return m, true, nil
}

func (i *installs) end() error {
	if err := i.disk.Remove(i.path); err != nil {
		return fmt.Errorf("note that a checkpoint is installed: %w", err)
	}
	i.on.Store(false)
	return nil
}

// ErrLostDisk: the log does not reach what this node's state has seen. It acknowledged entries that it no longer has.
var ErrLostDisk = errors.New("the log ends before the state does, so entries that this node acknowledged are gone: remove the node from the cluster and join anew under a new id")

// checkLog refuses a log that forgot what the state knows to be committed, and finishes an installation that the process did not live
// to finish. The process may have died
//
//   - before the state was replaced: state and old log agree, the mark goes;
//   - after that, before Raft removed the old log: the state is the mark's, the log is dropped here;
//   - after that, before the first new entry: the log is empty, and may be;
//   - after that, before the mark went: state and new log agree, the mark goes.
func (n *Node) checkLog() error {
	err := n.checkWholeLog()
	if err != nil && broken.On(broken.LogDropped) {
		n.cfg.Logger.Error("dropped a log that does not fit the state", "pkg", "cluster", "err", err)
		return n.log.Reset()
	}
	return err
}

func (n *Node) checkWholeLog() error {
	pos := n.cfg.Machine.Position()
	if err := n.log.Verify(pos.Index); err != nil {
		return fmt.Errorf("check the log: %w", err)
	}
	mark, marked, err := n.installs.read()
	if err != nil {
		return err
	}
	empty, err := agrees(n.log, pos)
	switch {
	case err == nil && !empty && marked:
		return n.installs.end()
	case err == nil && !empty, empty && pos.Index == 0, empty && marked && (mark.LogEmpty || mark.is(pos)):
		return nil
	case errors.Is(err, ErrLostDisk) && marked && mark.is(pos):
		return n.log.Reset()
	case empty:
		return ErrLostDisk
	}
	return err
}

// agrees compares the log with the state. ErrLostDisk when it contradicts the state or does not reach it.
func agrees(log *raftlog.Log, pos Position) (empty bool, err error) {
	first, err := log.FirstIndex()
	if err != nil {
		return false, err
	}
	last, err := log.LastIndex()
	switch {
	case err != nil:
		return false, err
	case last == 0:
		return true, nil
	case last < pos.Index:
		return false, fmt.Errorf("the log ends at entry %d, the state is at %d: %w", last, pos.Index, ErrLostDisk)
	case first > pos.Index+1:
		return false, fmt.Errorf("the log begins at entry %d, the state is at %d: %w", first, pos.Index, ErrLostDisk)
	case first == pos.Index+1:
		return false, nil
	}
	var e raft.Log
	if err := log.GetLog(pos.Index, &e); err != nil {
		return false, fmt.Errorf("read the entry at the state's index: %w", err)
	}
	if e.Term != pos.Term {
		return false, fmt.Errorf("entry %d is of term %d in the log and of %d in the state: %w", pos.Index, e.Term, pos.Term, ErrLostDisk)
	}
	return false, nil
}

// errNotNeeded: the message is old. Raft's paper (figure 13, rule 6) keeps a log that has the checkpoint's last entry; hashicorp/raft
// would take the state back and forget entries that this node acknowledged since.
var errNotNeeded = errors.New("this node has what the checkpoint holds")

// ErrStartAgain, given to Config.OnFatal, asks for a new process, which will go on well: hashicorp/raft removes the old log after a
// checkpoint, but goes on believing in its last entry: it refuses the entries that follow (#697), or is elected for entries that it does not
// have. Only a new start makes it forget.
var ErrStartAgain = errors.New("a checkpoint replaced a log that went further: the process must start again")

// errHalfRestored: nobody knows what the state is.
var errHalfRestored = errors.New("the state is neither the old nor the new one")

// install replaces the state by a checkpoint that the leader sent, whose last entry is at index.
func (n *Node) install(index, term uint64, r io.Reader) error {
	pos := n.cfg.Machine.Position()
	var e raft.Log
	if err := n.log.GetLog(index, &e); pos.Index > index || err == nil && e.Term == term {
		return fmt.Errorf("refuse a checkpoint of entry %d: %w", index, errNotNeeded)
	}
	last, err := n.log.LastIndex()
	if err != nil {
		return err
	}
	if err := n.installs.begin(installMark{Index: index, Term: term, LogEmpty: last == 0}); err != nil {
		return err
	}
	restored := n.cfg.Machine.Restore(r)
	switch now := n.cfg.Machine.Position(); {
	case now.Index == index && now.Term == term && restored == nil:
	case now.Index == pos.Index && now.Term == pos.Term && restored != nil:
		return fmt.Errorf("restore a checkpoint: %w", restored)
	default:
		err := fmt.Errorf("a checkpoint of entry %d left the state at %d: %w", index, now.Index, errors.Join(errHalfRestored, restored))
		n.fatal(err)
		return err
	}
	n.cfg.Logger.Info("a checkpoint of the leader replaced the state: this node was behind for longer than the log reaches back", "pkg", "cluster",
		"index", index, "term", term, "before", pos.Index)
	if last >= index {
		n.fatal(ErrStartAgain)
		return ErrStartAgain
	}
	n.applied.set(index)
	return nil
}

// entries is the log as Raft sees it: the first entry after an installed checkpoint ends the installation.
type entries struct {
	*raftlog.Log
	installs *installs
	written  func() // entries were
	fatal    func(error)
}

// StoreLog writes one entry.
func (s entries) StoreLog(e *raft.Log) error { return s.StoreLogs([]*raft.Log{e}) }

// StoreLogs writes entries durably.
func (s entries) StoreLogs(logs []*raft.Log) error {
	if err := s.Log.StoreLogs(logs); err != nil {
		return err
	}
	s.written()
	if !s.installs.on.Load() {
		return nil
	}
	err := s.installs.end()
	if err != nil {
		s.fatal(err)
	}
	return err
}
