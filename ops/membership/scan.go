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

func (m *Manager) scan(ctx context.Context, s snapshot, target, must []cluster.ServerID) error {
	ctx, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	type answer struct {
		id      cluster.ServerID
		missing int64
		err     error
	}
	answers := make(chan answer, len(target))
	for _, id := range target {
		go func() {
			n, err := m.cfg.Bodies.MissingAt(ctx, store.ServerID(id))
			answers <- answer{id, n, err}
		}()
	}
	holders, lacking := 0, []string(nil)
	enough := true
	for range target {
		a := <-answers
		switch {
		case a.err == nil && a.missing == 0:
			holders++
			continue
		case a.err != nil:
			lacking = append(lacking, fmt.Sprintf("%s does not answer (%v)", s.name(a.id), a.err))
		default:
			lacking = append(lacking, fmt.Sprintf("%s lacks %d messages", s.name(a.id), a.missing))
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
