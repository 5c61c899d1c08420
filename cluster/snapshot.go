package cluster

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// fsm gives Raft's entries to the Machine.
type fsm struct{ n *Node }

func (f fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

func (f fsm) ApplyBatch(logs []*raft.Log) []any {
	entries := make([]Entry, len(logs))
	for i, l := range logs {
		entries[i] = Entry{Index: l.Index, Term: l.Term}
		switch l.Type {
		case raft.LogCommand:
			entries[i].Command = l.Data
		case raft.LogConfiguration:
			c := fromRaft(l.Index, raft.DecodeConfiguration(l.Data))
			entries[i].Configuration = &c
		}
	}
	if err := f.n.cfg.Machine.Apply(entries); err != nil {
		f.n.fatal(fmt.Errorf("apply entries %d to %d: %w", entries[0].Index, entries[len(entries)-1].Index, err))
		select {} // the process ends; nothing may be applied after this
	}
	f.n.applied.set(entries[len(entries)-1].Index)
	return make([]any, len(logs))
}

func (f fsm) Snapshot() (raft.FSMSnapshot, error) { return persist(f), nil }

func (f fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	from := r
	if w, ok := r.(raft.ReadCloserWrapper); ok {
		from = w.WrappedReadCloser()
	}
	in, ok := from.(*received)
	if !ok {
		return errors.New("a checkpoint that was not received from the leader")
	}
	return f.n.install(in.meta.Index, in.meta.Term, r)
}

// persist is a snapshot: nothing is copied, the Machine's own state on disk is it.
type persist struct{ n *Node }

func (p persist) Persist(sink raft.SnapshotSink) error {
	if err := p.n.cfg.Machine.Persist(); err != nil {
		_ = sink.Cancel()
		return fmt.Errorf("make the state durable: %w", err)
	}
	return sink.Close()
}

func (p persist) Release() {}

// liveSnapshot names the Machine's own state.
const liveSnapshot = "live"

// snapshots shows Raft the Machine's state as its one snapshot, and takes in those that the leader sends.
type snapshots struct {
	machine Machine
	fs      vfs.FS
	dir     string
	mu      sync.Mutex
	got     *raft.SnapshotMeta // of the checkpoint that arrived last; guarded by mu
}

// List is the Machine's own state, which survives a restart without being read.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	p := s.machine.Position()
	if p.Index == 0 {
		return nil, nil
	}
	return []*raft.SnapshotMeta{liveMeta(p)}, nil
}

func liveMeta(p Position) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, ID: liveSnapshot, Index: p.Index, Term: p.Term,
		Configuration: toRaft(p.Configuration), ConfigurationIndex: p.Configuration.Index}
}

// Open streams the Machine's state as it is now, which may be later than List said, or a checkpoint that arrived.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if id == liveSnapshot {
		p, size, r, err := s.machine.Checkpoint()
		if err != nil {
			return nil, nil, fmt.Errorf("take a checkpoint: %w", err)
		}
		m := liveMeta(p)
		m.Size = size
		return m, r, nil
	}
	s.mu.Lock()
	meta := s.got
	s.mu.Unlock()
	if meta == nil {
		return nil, nil, fmt.Errorf("no checkpoint %q arrived", id)
	}
	path := s.fs.PathJoin(s.dir, incoming)
	f, err := s.fs.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open the checkpoint that arrived: %w", err)
	}
	return meta, &received{File: f, meta: meta, remove: func() error { return s.fs.Remove(path) }}, nil
}

// received is a checkpoint that arrived. It goes once it was read.
type received struct {
	vfs.File
	meta   *raft.SnapshotMeta
	remove func() error
	once   sync.Once
}

// Close may be called by Raft and by us.
func (r *received) Close() (err error) {
	r.once.Do(func() { err = errors.Join(r.File.Close(), r.remove()) })
	return err
}

// incoming is the name of a checkpoint while it arrives. One that is left over is overwritten.
const incoming = "incoming"

// Create is called before the Machine persists, and when a checkpoint begins to arrive.
func (s *snapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{to: s, meta: raft.SnapshotMeta{Version: v, ID: incoming, Index: index, Term: term, Configuration: c, ConfigurationIndex: at}}, nil
}

// sink takes in a checkpoint; when nothing was written, it stands for the Machine's own state.
type sink struct {
	to   *snapshots
	meta raft.SnapshotMeta
	f    vfs.File
	done bool
}

func (s *sink) path() string { return s.to.fs.PathJoin(s.to.dir, incoming) }

// Write takes the next piece.
func (s *sink) Write(p []byte) (int, error) {
	if s.f == nil {
		f, err := s.to.fs.Create(s.path(), vfs.WriteCategoryUnspecified)
		if err != nil {
			return 0, fmt.Errorf("take in a checkpoint: %w", err)
		}
		s.f = f
	}
	s.meta.Size += int64(len(p))
	return s.f.Write(p)
}

// Close need not sync: only what Restore makes of it must last.
func (s *sink) Close() error {
	if s.f == nil || s.done {
		return nil
	}
	s.done = true
	s.to.mu.Lock()
	s.to.got = &s.meta
	s.to.mu.Unlock()
	return s.f.Close()
}

// ID names what Open opens.
func (s *sink) ID() string {
	if s.f == nil {
		return liveSnapshot
	}
	return incoming
}

// Cancel forgets what arrived so far.
func (s *sink) Cancel() error {
	if s.f == nil || s.done {
		return nil
	}
	s.done = true
	return errors.Join(s.f.Close(), s.to.fs.Remove(s.path()))
}

func fromRaft(index uint64, c raft.Configuration) Configuration {
	out := Configuration{Index: index}
	for _, s := range c.Servers {
		out.Servers = append(out.Servers, Server{ServerID(s.ID), string(s.Address), s.Suffrage == raft.Voter})
	}
	return out
}

func toRaft(c Configuration) raft.Configuration {
	var out raft.Configuration
	for _, s := range c.Servers {
		r := raft.Server{ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Address), Suffrage: raft.Nonvoter}
		if s.Voter {
			r.Suffrage = raft.Voter
		}
		out.Servers = append(out.Servers, r)
	}
	return out
}
