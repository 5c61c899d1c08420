package membership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/store"
)

// Calls reach other nodes.
type Calls interface {
	Call(ctx context.Context, to cluster.ServerID, method string, req []byte) ([]byte, error)
	Handle(method string, h func(ctx context.Context, from cluster.ServerID, req []byte) ([]byte, error))
}

// Methods between nodes.
const (
	methodRemove = "membership.remove"
	methodWaits  = "membership.waits"
	methodRotate = "membership.rotate-keys"
	methodGossip = "membership.gossip"
)

// result carries an answer, or the error of package store that it stands for: an error between nodes is only a text.
type result struct {
	Progress Progress `json:"progress"`
	Code     string   `json:"code,omitempty"`
	Text     string   `json:"text,omitempty"`
}

var codes = map[string]error{"not-found": store.ErrNotFound, "conflict": store.ErrConflict, "unavailable": store.ErrUnavailable}

func resultOf(p Progress, err error) ([]byte, error) {
	r := result{Progress: p}
	if err != nil {
		r.Code, r.Text = "other", err.Error()
		for code, e := range codes {
			if errors.Is(err, e) {
				r.Code = code
			}
		}
	}
	return json.Marshal(r)
}

func (r result) err() error {
	switch e := codes[r.Code]; {
	case r.Code == "":
		return nil
	case e != nil:
		return remoteError{r.Text, e}
	default:
		return errors.New(r.Text)
	}
}

// remoteError is another node's refusal: its text, and the error that it stands for.
type remoteError struct {
	text  string
	cause error
}

func (e remoteError) Error() string { return e.text }
func (e remoteError) Unwrap() error { return e.cause }

// Register says who answers the other nodes. Call it before any traffic.
func (m *Manager) Register() {
	m.cfg.Calls.Handle(methodRemove, func(_ context.Context, _ cluster.ServerID, req []byte) ([]byte, error) {
		return resultOf(m.remove(cluster.ServerID(req)))
	})
	m.cfg.Calls.Handle(methodWaits, func(context.Context, cluster.ServerID, []byte) ([]byte, error) {
		return json.Marshal(m.ownWaits())
	})
}

// Remove asks the leader to remove a member for ever, and tells how far that is. Ask again until it is done: a wish that nobody repeats
// for 15 seconds is forgotten. Errors: store.ErrNotFound, store.ErrConflict for the last voter, store.ErrUnavailable.
func (m *Manager) Remove(ctx context.Context, id cluster.ServerID) (Progress, error) {
	raw, err := m.askLeader(ctx, methodRemove, []byte(id))
	if err != nil {
		return Progress{}, err
	}
	var r result
	if err := json.Unmarshal(raw, &r); err != nil {
		return Progress{}, fmt.Errorf("read the leader's answer: %w", err)
	}
	return r.Progress, r.err()
}

func (m *Manager) askLeader(ctx context.Context, method string, req []byte) ([]byte, error) {
	return askLeader(ctx, m.cfg.Calls, m.cfg.Cluster.Status().Leader, method, req)
}

func askLeader(ctx context.Context, calls Calls, leader cluster.ServerID, method string, req []byte) ([]byte, error) {
	if leader == "" {
		return nil, fmt.Errorf("no node leads now: %w", store.ErrUnavailable)
	}
	raw, err := calls.Call(ctx, leader, method, req)
	if err != nil {
		return nil, fmt.Errorf("ask the leader: %w: %w", store.ErrUnavailable, err)
	}
	return raw, nil
}

// waitsTimeout keeps "status" quick where the leader does not answer.
const waitsTimeout = 500 * time.Millisecond

// Waits tells, for each member that is to vote or to be removed and is not yet, why, as the leader says.
func (m *Manager) Waits(ctx context.Context) (map[cluster.ServerID]string, error) {
	if m.cfg.Cluster.IsLeader() {
		return m.ownWaits(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, waitsTimeout)
	defer cancel()
	raw, err := m.askLeader(ctx, methodWaits, nil)
	if err != nil {
		return nil, err
	}
	var out map[cluster.ServerID]string
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("read the leader's answer: %w", err)
	}
	return out, nil
}

func (m *Manager) ownWaits() map[cluster.ServerID]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.waits)
}
