package state

import (
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// gap is what is left free of every number that a restored cluster gives out. The cluster that the backup was taken from went on: it may
// have given out UIDs and ids after it, which clients remember, and which must not come to mean something else.
const gap = 1 << 20

// BecomeNewCluster makes a restored state the beginning of another cluster: its members, what they had under way, its invites and the
// secrets that are named are forgotten, and its log begins at 0. The mail, its UIDs and UIDVALIDITY stay; the numbers that are given out
// next leave a gap. It is durable when it returns. Call it after Restore, before anything else.
func (m *Machine) BecomeNewCluster(clusterID string, dropSecrets ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	pos := &storepb.LogPosition{}
	b := &batch{Batch: m.db.NewBatch(), m: m, pos: pos, changed: map[MailboxRef]bool{}}
	defer b.Close()
	for _, table := range []byte{tabServer, tabInvite, tabMissing, tabIncarnation, tabResult} {
		if err := b.DeleteRange(key(table), after(key(table))); err != nil {
			return err
		}
	}
	for _, name := range dropSecrets {
		if err := b.Delete(key(tabSecret, name)); err != nil {
			return err
		}
	}
	if err := b.leaveGaps(clusterID); err != nil {
		return fmt.Errorf("make the state another cluster's: %w", err)
	}
	if err := b.holdRemote(); err != nil {
		return fmt.Errorf("hold the mail for other systems: %w", err)
	}
	if err := b.Delete(keySynced); err != nil {
		return err
	}
	if err := b.save(keyPosition, pos); err != nil {
		return err
	}
	if err := b.Commit(true); err != nil {
		return fmt.Errorf("make the state another cluster's: %w", err)
	}
	m.posMu.Lock()
	m.pos = pos
	m.posMu.Unlock()
	m.synced.Store(0)
	m.noted = 0
	return nil
}

// holdRemote keeps mail for other systems back: the cluster that the backup was taken from went on, and has probably delivered it.
func (b *batch) holdRemote() error {
	cr, err := b.cluster()
	if err != nil {
		return err
	}
	err = each(b.m.db, key(tabQueueEntry), func(_, raw []byte) (bool, error) {
		e := &storepb.QueueEntry{}
		if err := unmarshal(raw, e); err != nil || store.Queue(e.Queue) != store.QueueRemote {
			return err == nil, err
		}
		held := proto.CloneOf(e)
		held.Held, held.Attempting, held.Reason = true, false, "restored from a backup: it may have been delivered since"
		return true, b.putEntry(cr, nil, e, held)
	})
	if err != nil {
		return err
	}
	return b.saveCluster(cr)
}

func (b *batch) leaveGaps(clusterID string) error {
	cr, err := b.cluster()
	if err != nil {
		return err
	}
	cr.ClusterId, cr.TargetVoters, cr.ReconfigureId, cr.Holds = clusterID, nil, 0, nil
	cr.Epoch++
	cr.NextAccount, cr.NextMailbox, cr.NextEmail, cr.NextQueued = cr.NextAccount+gap, cr.NextMailbox+gap, cr.NextEmail+gap, cr.NextQueued+gap
	if cr.NextUidValidity < 1<<31+1<<30 {
		cr.NextUidValidity += gap
	}
	if err := b.saveCluster(cr); err != nil {
		return err
	}
	return each(b.m.db, key(tabMailbox), func(rest, raw []byte) (bool, error) {
		mb := &storepb.Mailbox{}
		if err := proto.Unmarshal(raw, mb); err != nil {
			return false, fmt.Errorf("decode a mailbox: %w", err)
		}
		if mb.UidNext < 1<<31 {
			mb.UidNext += gap
		}
		mb.HighestModseq += gap
		return true, b.save(key(tabMailbox, rest), mb)
	})
}

// CheckpointBodies reads a checkpoint and calls f for the id of each body that it refers to, in the order of ids. What f was told counts
// only if no error is returned. It also returns the checkpoint's position and the identity of its cluster.
func CheckpointBodies(r io.Reader, f func(store.BodyID) error) (pos *storepb.LogPosition, clusterID string, err error) {
	bodies, cluster := string(key(tabBody)), string(key(tabCluster))
	pos, err = eachPair(r, func(k, v []byte) error {
		switch {
		case string(k) == cluster:
			cr := &storepb.ClusterRecord{}
			if err := proto.Unmarshal(v, cr); err != nil {
				return fmt.Errorf("decode the cluster's record: %w", err)
			}
			clusterID = cr.ClusterId
		case len(k) > len(bodies) && string(k[:len(bodies)]) == bodies:
			id, err := store.BodyIDFromBytes(k[len(bodies):])
			if err != nil {
				return err
			}
			return f(id)
		}
		return nil
	})
	return pos, clusterID, err
}
