package raftlog

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"sync"

	"github.com/quorumail/quorumail/store/durable"
)

// voteTerm is the key under which Raft keeps the term of its last vote. It writes that right before whom it voted for, and answers only after
// both: so it need not be durable before that is, and an election spares a write on each node. A crash in between leaves neither, where two
// writes could leave a term with the vote of an earlier one.
const voteTerm = "LastVoteTerm"

// stable keeps term and vote.
type stable struct {
	file smallFile
	one  turns // who writes; then no other replaces kv
	mu   sync.Mutex
	kv   map[string][]byte // guarded by mu; of voteTerm what was set, of all else what is durable
}

func openStable(disk durable.Disk, path string, mayMake bool) (*stable, error) {
	s := &stable{file: smallFile{disk, path}, one: newTurns(), kv: map[string][]byte{}}
	raw, err := s.file.read()
	if err != nil {
		return nil, err
	}
	if raw == nil {
		if !mayMake {
			return nil, fmt.Errorf("the file of term and vote is missing: %w", ErrRot)
		}
		return s, s.file.write([]byte("{}"))
	}
	if err := json.Unmarshal(raw, &s.kv); err != nil {
		return nil, fmt.Errorf("read term and vote: %w: %w", ErrRot, err)
	}
	return s, nil
}

func (s *stable) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kv) == 0
}

func (s *stable) set(key string, val []byte) error {
	defer s.one.take()()
	s.mu.Lock()
	kv := maps.Clone(s.kv)
	s.mu.Unlock()
	kv[key] = append([]byte(nil), val...)
	if key != voteTerm {
		raw, err := json.Marshal(kv)
		if err != nil {
			return err
		}
		if err := s.file.write(raw); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kv = kv
	return nil
}

// Set durably keeps a value. An error ends the process.
func (l *Log) Set(key, val []byte) error {
	return l.write("write term and vote", func() error { return l.stable.set(string(key), val) })
}

// Get is what Set kept, nil for nothing.
func (l *Log) Get(key []byte) ([]byte, error) {
	l.stable.mu.Lock()
	defer l.stable.mu.Unlock()
	return append([]byte(nil), l.stable.kv[string(key)]...), nil
}

// SetUint64 durably keeps a number; that of the key "LastVoteTerm" together with what is set next. An error ends the process.
func (l *Log) SetUint64(key []byte, val uint64) error {
	return l.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 is what SetUint64 kept, 0 for nothing.
func (l *Log) GetUint64(key []byte) (uint64, error) {
	raw, err := l.Get(key)
	if err != nil || len(raw) == 0 {
		return 0, err
	}
	if len(raw) != 8 {
		return 0, fmt.Errorf("%q is no number: %w", key, ErrRot)
	}
	return binary.BigEndian.Uint64(raw), nil
}
