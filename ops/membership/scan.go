package membership

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/store"
)

// scanTimeout bounds one server's scan of its own index.
const scanTimeout = 30 * time.Second

// Scans that found something missing are repeated at growing distances: each reads whole indexes.
const (
	minScanPause = time.Second
	maxScanPause = 15 * time.Second
)

// scans paces those that failed. Its owner's lock guards it.
type scans struct {
	of    string // what was asked
	last  error
	until time.Time // not before this
	pause time.Duration
}

// whole returns nil if every live body is on a majority of target, by the scan that each server there makes of its own index at a read
// barrier, and each of must holds all of them. The error says who lacks what (B4).
func (m *Manager) whole(ctx context.Context, s snapshot, target, must []cluster.ServerID) error {
	of := fmt.Sprint(target, must)
	m.mu.Lock()
	if m.scanned.of == of && time.Now().Before(m.scanned.until) {
		defer m.mu.Unlock()
		return m.scanned.last
	}
	m.mu.Unlock()
	err := m.scan(ctx, s, target, must)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil || m.scanned.of != of {
		m.scanned = scans{of: of, pause: minScanPause / 2}
	}
	if err != nil {
		m.scanned.pause = min(2*m.scanned.pause, maxScanPause)
		m.scanned.last, m.scanned.until = err, time.Now().Add(m.scanned.pause)
	}
	return err
}

// scanned is what one server's scan found.
type scanned struct {
	id    cluster.ServerID
	total int64          // of live bodies that it lacks
	ids   []store.BodyID // the first of these
	err   error
}

func (m *Manager) scan(ctx context.Context, s snapshot, target, must []cluster.ServerID) error {
	ctx, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	var others []cluster.ServerID // may hold what the target lacks
	for _, x := range s.config.Servers {
		if !slices.Contains(target, x.ID) {
			others = append(others, x.ID)
		}
	}
	found, more := m.ask(ctx, target), m.ask(ctx, others)
	var of []scanned
	for range target {
		of = append(of, <-found)
	}
	err := judge(s, of, target, must, nil)
	if err == nil || len(nowhere(of)) == 0 {
		return err
	}
	all := slices.Clone(of)
	for range others {
		all = append(all, <-more)
	}
	gone := nowhere(all)
	if len(gone) == 0 {
		return err
	}
	m.cfg.Logger.Warn("bodies are lost: no member holds them; no change of the voters waits for them", "pkg", "membership", "count", len(gone), "first", gone[0].String())
	return judge(s, of, target, must, gone)
}

func (m *Manager) ask(ctx context.Context, servers []cluster.ServerID) <-chan scanned {
	answers := make(chan scanned, len(servers))
	for _, id := range servers {
		go func() {
			a := scanned{id: id}
			a.total, a.ids, a.err = m.cfg.Bodies.MissingAt(ctx, store.ServerID(id))
			answers <- a
		}()
	}
	return answers
}

// judge is whole's answer, given the target's scans. Bodies that are gone everywhere do not count: no change makes it worse for them, and
// without changes the cluster could never replace a node again.
func judge(s snapshot, of []scanned, target, must []cluster.ServerID, gone []store.BodyID) error {
	holders, lacking := 0, []string(nil)
	enough := true
	for _, a := range of {
		missing := a.total - int64(len(gone)) // each of them is among those that it lacks
		switch {
		case a.err == nil && missing == 0:
			holders++
			continue
		case a.err != nil:
			lacking = append(lacking, fmt.Sprintf("%s does not answer (%v)", s.name(a.id), a.err))
		default:
			lacking = append(lacking, fmt.Sprintf("%s lacks %d messages", s.name(a.id), missing))
		}
		enough = enough && !slices.Contains(must, a.id)
	}
	// A whole server holds every live body, so a majority of whole servers has each body on a majority.
	if enough && holders > len(target)/2 {
		return nil
	}
	slices.Sort(lacking)
	return fmt.Errorf("%d of the %d nodes that shall vote hold every message: %s", holders, len(target), strings.Join(lacking, "; "))
}

// nowhere lists the bodies that every member says it lacks. While a member does not answer it may hold them, so then there are none. A
// body that is too new for some member's scan is not in its list either.
func nowhere(all []scanned) []store.BodyID {
	if len(all) == 0 || slices.ContainsFunc(all, func(a scanned) bool { return a.err != nil }) {
		return nil
	}
	count := map[store.BodyID]int{}
	for _, a := range all {
		for _, id := range a.ids {
			count[id]++
		}
	}
	return slices.DeleteFunc(slices.Clone(all[0].ids), func(id store.BodyID) bool { return count[id] < len(all) })
}
