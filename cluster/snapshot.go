package cluster

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

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
	if err := f.n.cfg.Machine.Restore(r); err != nil {
		return fmt.Errorf("restore a checkpoint: %w", err)
	}
	f.n.applied.set(f.n.cfg.Machine.Position().Index)
	return nil
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

// snapshots shows Raft the Machine's state as its one snapshot.
type snapshots struct {
	machine Machine
	dir     string
}

func (s snapshots) meta(p Position) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, ID: liveSnapshot, Index: p.Index, Term: p.Term,
		Configuration: toRaft(p.Configuration), ConfigurationIndex: p.Configuration.Index}
}

func (s snapshots) List() ([]*raft.SnapshotMeta, error) {
	p := s.machine.Position()
	if p.Index == 0 {
		return nil, nil
	}
	return []*raft.SnapshotMeta{s.meta(p)}, nil
}

func (s snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if id == liveSnapshot {
		p, size, r, err := s.machine.Checkpoint()
		if err != nil {
			return nil, nil, fmt.Errorf("take a checkpoint: %w", err)
		}
		m := s.meta(p)
		m.Size = size
		return m, r, nil
	}
	f, err := os.Open(filepath.Join(s.dir, id))
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, ID: id, Size: st.Size()}, removed{f}, nil
}

// removed is a received checkpoint, which goes once it was read.
type removed struct{ *os.File }

func (r removed) Close() error {
	r.File.Close()
	return os.Remove(r.Name())
}

// incoming is the name of a checkpoint while it arrives.
const incoming = "incoming"

func (s snapshots) Create(_ raft.SnapshotVersion, _, _ uint64, _ raft.Configuration, _ uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{dir: s.dir}, nil
}

// sink takes in a checkpoint; when nothing was written, it stands for the Machine's own state.
type sink struct {
	dir string
	f   *os.File
}

func (s *sink) Write(p []byte) (int, error) {
	if s.f == nil {
		f, err := os.Create(filepath.Join(s.dir, incoming))
		if err != nil {
			return 0, err
		}
		s.f = f
	}
	return s.f.Write(p)
}

// Close need not sync: only what Restore makes of it must last.
func (s *sink) Close() error {
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}

func (s *sink) ID() string {
	if s.f == nil {
		return liveSnapshot
	}
	return incoming
}

func (s *sink) Cancel() error {
	if s.f == nil {
		return nil
	}
	s.f.Close()
	return os.Remove(s.f.Name())
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
