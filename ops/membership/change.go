package membership

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// promote begins to let the first member vote that may.
func (m *Manager) promote(ctx context.Context, s snapshot) (bool, error) {
	var waiting error
	for _, x := range s.config.Servers {
		if x.Voter || s.removed(x.ID) {
			continue
		}
		err := m.mayVote(ctx, s, x.ID)
		if err == nil {
			m.setWait(x.ID, "")
			return true, m.begin(ctx, append(s.voters(), x.ID))
		}
		m.setWait(x.ID, err.Error())
		waiting = errors.Join(waiting, fmt.Errorf("%s does not vote yet: %w", s.name(x.ID), err))
	}
	return false, waiting
}

func (m *Manager) mayVote(ctx context.Context, s snapshot, id cluster.ServerID) error {
	if s.servers[id] == nil {
		return errors.New("it has not said who it is")
	}
	if err := m.cfg.Cluster.CaughtUp(ctx, id); err != nil {
		return err
	}
	return m.whole(ctx, s, append(s.voters(), id), []cluster.ServerID{id})
}

// begin writes down which servers shall vote. From here on a new body must be on a majority of the present and of these voters.
func (m *Manager) begin(ctx context.Context, target []cluster.ServerID) error {
	op := &storepb.Reconfigure{Id: rand.Uint64() | 1}
	for _, id := range target {
		op.TargetVoters = append(op.TargetVoters, string(id))
	}
	if err := m.reconfigure(ctx, op); err != nil {
		return fmt.Errorf("begin to change the voters to %v: %w", target, err)
	}
	m.again()
	return nil
}

func (m *Manager) end(ctx context.Context, s snapshot) error {
	if err := m.reconfigure(ctx, &storepb.Reconfigure{Id: s.record.ReconfigureId, End: true}); err != nil {
		return fmt.Errorf("end the change of the voters: %w", err)
	}
	m.mu.Lock()
	delete(m.began, s.record.ReconfigureId)
	m.mu.Unlock()
	m.again()
	return nil
}

func (m *Manager) reconfigure(ctx context.Context, op *storepb.Reconfigure) error {
	return m.cfg.State.Propose(ctx, func(c *storepb.Command) { c.Op = &storepb.Command_Reconfigure{Reconfigure: op} })
}

// again lets the next step follow at once.
func (m *Manager) again() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// finish brings a change that was begun, by this or an earlier leader, to its end, or gives it up. Every step can be repeated.
func (m *Manager) finish(ctx context.Context, s snapshot) error {
	var target []cluster.ServerID
	for _, id := range s.record.TargetVoters {
		target = append(target, cluster.ServerID(id))
	}
	voters := s.voters()
	added, dropped := minus(target, voters), minus(voters, target)
	if len(added) == 0 && len(dropped) == 0 {
		return m.end(ctx, s)
	}
	for _, id := range added {
		if _, member := s.member(id); !member || s.removed(id) {
			m.cfg.Logger.Info("a change of the voters is given up: a node that was to vote is gone", "pkg", "membership", "node", id)
			return m.end(ctx, s)
		}
	}
	if err := m.whole(ctx, s, target, added); err != nil {
		return m.waitOrGiveUp(ctx, s, append(added, dropped...), dropped, err)
	}
	// One change of Raft's configuration for each look at it.
	if len(added) > 0 {
		return m.letVote(ctx, s, added[0])
	}
	return m.drop(ctx, s, dropped[0])
}

func (m *Manager) letVote(ctx context.Context, s snapshot, id cluster.ServerID) error {
	x, _ := s.member(id)
	if err := m.cfg.Cluster.AddVoter(ctx, id, x.Address, s.config.Index); err != nil {
		return err
	}
	m.cfg.Logger.Info("a member votes now", "pkg", "membership", "node", id, "name", s.servers[id].GetName())
	m.setWait(id, "")
	m.again()
	return nil
}

// waitOrGiveUp is called when the scans do not allow the change. It can be given up as long as nothing of it was done.
func (m *Manager) waitOrGiveUp(ctx context.Context, s snapshot, whom, dropped []cluster.ServerID, why error) error {
	for _, id := range whom {
		m.setWait(id, why.Error())
	}
	m.mu.Lock()
	began, seen := m.began[s.record.ReconfigureId]
	if !seen {
		began = time.Now()
		m.began[s.record.ReconfigureId] = began
	}
	m.mu.Unlock()
	if time.Since(began) < m.cfg.GiveUp || slices.ContainsFunc(dropped, s.removed) {
		return why
	}
	m.cfg.Logger.Info("a change of the voters is given up for now", "pkg", "membership", "err", why)
	return m.end(ctx, s)
}

// drop removes a member whose leaving was found harmless, or that does not vote.
func (m *Manager) drop(ctx context.Context, s snapshot, id cluster.ServerID) error {
	if id == m.cfg.Self {
		m.setWait(id, "it hands over the lead first")
		if err := m.cfg.Cluster.TransferLeadership(); err != nil {
			return fmt.Errorf("hand over the lead, to be removed by the next leader: %w", err)
		}
		return nil
	}
	if !s.removed(id) {
		if err := m.markRemoved(ctx, id); err != nil {
			return err
		}
	}
	if err := m.cfg.Cluster.RemoveServer(ctx, id, s.config.Index); err != nil {
		return err
	}
	m.cfg.Logger.Info("a member was removed", "pkg", "membership", "node", id, "name", s.servers[id].GetName())
	m.setWait(id, "")
	m.again()
	// Once more: what the state noted of it since the first time, while it was a member still, goes too.
	return m.markRemoved(ctx, id)
}

func minus(a, b []cluster.ServerID) []cluster.ServerID {
	return slices.DeleteFunc(slices.Clone(a), func(id cluster.ServerID) bool { return slices.Contains(b, id) })
}

// askedFor is how long a wish to remove a member is remembered: whoever has it keeps saying so.
const askedFor = 15 * time.Second

// removeAsked goes on with the removals that administrators wait for, and with those that an earlier leader marked and did not end.
func (m *Manager) removeAsked(ctx context.Context, s snapshot) (bool, error) {
	for _, x := range s.config.Servers {
		if s.removed(x.ID) && !x.Voter {
			return true, m.drop(ctx, s, x.ID)
		}
	}
	for _, id := range m.wanted() {
		x, member := s.member(id)
		switch {
		case !member && !s.removed(id):
			return true, m.markRemoved(ctx, id) // it was invited, and never came
		case !member:
			continue
		case !x.Voter:
			return true, m.drop(ctx, s, id)
		}
		if done, err := m.removeVoter(ctx, s, id); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// wanted are the servers that somebody asked to remove lately.
func (m *Manager) wanted() (ids []cluster.ServerID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, at := range m.asked {
		if time.Since(at) > askedFor {
			delete(m.asked, id)
			delete(m.waits, id)
			continue
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (m *Manager) removeVoter(ctx context.Context, s snapshot, id cluster.ServerID) (bool, error) {
	rest := minus(s.voters(), []cluster.ServerID{id})
	if id == m.cfg.Self {
		return true, m.drop(ctx, s, id)
	}
	// The look comes before the command, which holds up new bodies as long as the rest is not whole.
	if err := m.whole(ctx, s, rest, nil); err != nil {
		m.setWait(id, err.Error())
		return false, fmt.Errorf("%s is not removed yet: %w", s.name(id), err)
	}
	return true, m.begin(ctx, rest)
}

// Progress is how far a removal is.
type Progress struct {
	Done    bool   `json:"done"`
	Waiting string `json:"waiting,omitempty"` // why it is not done
}

// remove notes, on the leader, that a server shall be removed, and tells how far that is.
func (m *Manager) remove(id cluster.ServerID) (Progress, error) {
	if !m.cfg.Cluster.IsLeader() {
		return Progress{}, fmt.Errorf("this node does not lead: %w", store.ErrUnavailable)
	}
	s, err := m.look()
	if err != nil {
		return Progress{}, err
	}
	x, member := s.member(id)
	if !member {
		if s.servers[id] == nil {
			return Progress{}, fmt.Errorf("there is no node with the id %s: %w", id, store.ErrNotFound)
		}
		if s.removed(id) && len(s.record.TargetVoters) == 0 {
			return Progress{Done: true}, nil
		}
	}
	if x.Voter && len(s.voters()) == 1 {
		return Progress{}, fmt.Errorf("%s is the last node that votes: %w", s.name(id), store.ErrConflict)
	}
	m.mu.Lock()
	m.asked[id] = time.Now()
	why := m.waits[id]
	m.mu.Unlock()
	m.again()
	if why == "" {
		why = "it is being looked at"
	}
	return Progress{Waiting: why}, nil
}
