package state

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/quorumail/quorumail/store/durable"
	"github.com/quorumail/quorumail/store/kv"
)

// currentFile names the folder of the store in use.
const currentFile = "CURRENT"

// firstName is the folder of the first store; each restore makes the next one.
const firstName = "kv-1"

var storeName = regexp.MustCompile(`^kv-[1-9][0-9]{0,17}$`)

// generation is the store between two restores. It is closed when the machine and all views have let go of it.
type generation struct {
	kv.Store
	name    string       // of its folder in Config.Dir; empty: in memory
	users   atomic.Int64 // the machine is one of them
	dropped func() error // removes the folder of a store that was replaced; set before the machine lets go
}

func newGeneration(db kv.Store, name string) *generation {
	g := &generation{Store: db, name: name}
	g.users.Store(1)
	return g
}

func (g *generation) release() error {
	if g.users.Add(-1) > 0 {
		return nil
	}
	err := g.Store.Close()
	if g.dropped != nil {
		err = errors.Join(err, g.dropped())
	}
	return err
}

func (m *Machine) path(name string) string { return m.cfg.FS.PathJoin(m.cfg.Dir, name) }

func (m *Machine) disk() durable.Disk { return durable.Disk{FS: m.cfg.FS} }

func (m *Machine) openCurrent() error {
	if m.cfg.Dir == "" {
		m.db = newGeneration(kv.NewMemory(), "")
		return nil
	}
	if err := m.disk().MkdirAll(m.cfg.Dir, 0o700); err != nil {
		return err
	}
	name, err := m.currentName()
	if err != nil {
		return err
	}
	if err := m.removeOthers(name); err != nil {
		return err
	}
	db, err := m.openStore(name)
	if err != nil {
		return explain(err)
	}
	m.db = newGeneration(db, name)
	return nil
}

// currentName reads which store is in use, or begins the first one.
func (m *Machine) currentName() (string, error) {
	raw, err := m.disk().ReadFile(m.path(currentFile), 100)
	if errors.Is(err, os.ErrNotExist) {
		list, err := m.stores()
		if err != nil {
			return "", err
		}
		if len(list) > 0 {
			return "", fmt.Errorf("the file %s is gone, which says which of %v is the state: the data folder is damaged", m.path(currentFile), list)
		}
		return firstName, m.disk().WriteFile(m.path(currentFile), []byte(firstName), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("find the state: %w", err)
	}
	name := strings.TrimSpace(string(raw))
	list, err := m.stores()
	if err != nil {
		return "", err
	}
	begun := name == firstName && len(list) == 0 // a crash came between the file and the folder
	if !storeName.MatchString(name) || !begun && !slices.Contains(list, name) {
		return "", fmt.Errorf("the file %s says %q, and the states that are there are %v: the data folder is damaged", m.path(currentFile), name, list)
	}
	return name, nil
}

// stores lists the folders of stores.
func (m *Machine) stores() (names []string, err error) {
	list, err := m.cfg.FS.List(m.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("look for states: %w", err)
	}
	for _, name := range list {
		if storeName.MatchString(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// removeOthers drops what a restore left that was cut off.
func (m *Machine) removeOthers(current string) error {
	names, err := m.stores()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == current {
			continue
		}
		if err := m.cfg.FS.RemoveAll(m.path(name)); err != nil {
			return fmt.Errorf("remove an old state: %w", err)
		}
	}
	return nil
}

func (m *Machine) openStore(name string) (kv.Store, error) {
	c := kv.PebbleConfig{Dir: m.path(name), FS: m.cfg.FS, MemTableBytes: m.cfg.memTableBytes, OnFlushBegin: m.syncBodies, Logger: m.cfg.Logger}
	if m.cfg.OnFatal != nil {
		c.OnFatal = func(err error) { m.cfg.OnFatal(explain(err)) }
	}
	return kv.OpenPebble(c)
}

// explain says what to do about files that rotted: what they held is at the other nodes.
func explain(err error) error {
	if kv.IsCorrupt(err) {
		return fmt.Errorf("the files of this node's state are damaged: remove the node from the cluster, empty its data folder, and let it join anew: %w", err)
	}
	return err
}

// NeedsAllBodies tells whether the state came as a checkpoint and its bodies are not all here yet.
func (m *Machine) NeedsAllBodies() bool { return m.needsAll.Load() }

// Generation counts the restores since Open.
func (m *Machine) Generation() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.restores
}

// ClearNeedsAllBodies notes, durably, that every live body of a generation is here. If another checkpoint has come meanwhile, it does
// nothing.
func (m *Machine) ClearNeedsAllBodies(generation uint64) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.restores != generation {
		return nil
	}
	b := m.db.NewBatch()
	defer b.Close()
	if err := b.Delete(keyNeedsAll); err != nil {
		return err
	}
	if err := b.Commit(true); err != nil {
		return fmt.Errorf("note that all bodies are here: %w", err)
	}
	m.needsAll.Store(false)
	return nil
}
