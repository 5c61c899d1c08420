package clustertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/quorumail/quorumail/cluster"
)

// Machine is a state machine that keeps a list of texts. Like the product's, it applies each command id once, whatever the log holds,
// stops at a command that it does not know, and may lose what it applied since it last persisted.
type Machine struct {
	mu       sync.Mutex
	version  int
	steps    []step          // guarded by mu
	seen     map[string]bool // ids in steps; guarded by mu
	durable  int             // how many steps would survive; guarded by mu
	restores int             // guarded by mu
	persists int             // guarded by mu
}

// step is one applied entry. Text is empty when it had no command, or one that was applied before.
type step struct {
	Pos      cluster.Position
	ID, Text string
}

var errUnknownCommand = errors.New("a command that this machine does not know")

// NewMachine makes an empty machine that knows commands up to a version.
func NewMachine(version int) *Machine { return &Machine{version: version, seen: map[string]bool{}} }

// command is how a text travels: the version of the format, the id, the text.
func command(version int, id, text string) []byte {
	return fmt.Appendf(nil, "%d %s %s", version, id, text)
}

// Apply applies entries.
func (m *Machine) Apply(entries []cluster.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	pos := m.position()
	for _, e := range entries {
		if e.Index <= pos.Index {
			continue
		}
		pos.Index, pos.Term = e.Index, e.Term
		if e.Configuration != nil {
			pos.Configuration = *e.Configuration
		}
		s := step{Pos: pos}
		if e.Command != nil {
			part := strings.SplitN(string(e.Command), " ", 3)
			if v, err := strconv.Atoi(part[0]); err != nil || v > m.version || len(part) != 3 {
				return fmt.Errorf("version %q: %w", part[0], errUnknownCommand)
			}
			if !m.seen[part[1]] {
				m.seen[part[1]] = true
				s.ID, s.Text = part[1], part[2]
			}
		}
		m.steps = append(m.steps, s)
	}
	return nil
}

func (m *Machine) position() cluster.Position {
	if len(m.steps) == 0 {
		return cluster.Position{}
	}
	return m.steps[len(m.steps)-1].Pos
}

// Position is the last step's.
func (m *Machine) Position() cluster.Position { m.mu.Lock(); defer m.mu.Unlock(); return m.position() }

// Persist makes every step survive.
func (m *Machine) Persist() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.durable = len(m.steps)
	m.persists++
	return nil
}

// Checkpoint is all the steps.
func (m *Machine) Checkpoint() (cluster.Position, int64, io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	raw, err := json.Marshal(m.steps)
	return m.position(), int64(len(raw)), io.NopCloser(bytes.NewReader(raw)), err
}

// Restore takes over the steps of a checkpoint.
func (m *Machine) Restore(r io.Reader) error {
	var steps []step
	if err := json.NewDecoder(r).Decode(&steps); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.take(steps)
	m.durable = len(steps)
	m.restores++
	return nil
}

func (m *Machine) take(steps []step) {
	m.steps, m.seen = steps, map[string]bool{}
	for _, s := range steps {
		if s.ID != "" {
			m.seen[s.ID] = true
		}
	}
}

// crashed is what is there after a crash: everything durable, and lost tells how much of the rest is not.
func (m *Machine) crashed(lost func(n int) int) *Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMachine(m.version)
	after.take(slices.Clone(m.steps[:len(m.steps)-lost(len(m.steps)-m.durable)]))
	after.durable = len(after.steps)
	return after
}

// commands are the ids with their texts, in the order in which they were applied.
func (m *Machine) commands() (all []step) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.steps {
		if s.ID != "" {
			all = append(all, s)
		}
	}
	return all
}

func (m *Machine) has(id string) bool { m.mu.Lock(); defer m.mu.Unlock(); return m.seen[id] }

func (m *Machine) counts() (restores, persists int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.restores, m.persists
}
