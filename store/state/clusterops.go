package state

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// maxSweep bounds the emails of one sweep.
const maxSweep = 10000

func (b *batch) cluster() (*storepb.ClusterRecord, error) {
	cr := &storepb.ClusterRecord{Version: CommandVersion, Epoch: 1}
	_, err := load(b, key(tabCluster), cr)
	return cr, err
}

func (b *batch) saveCluster(cr *storepb.ClusterRecord) error { return b.save(key(tabCluster), cr) }

// clusterOperation applies the commands about nodes, bodies and time.
func (b *batch) clusterOperation(c *storepb.Command) (*storepb.Result, error) {
	switch op := c.Op.(type) {
	case *storepb.Command_RegisterServer:
		res, err := b.registerServer(op.RegisterServer.GetServer())
		if err != nil || res.Code != 0 {
			return res, err
		}
		return res, b.retireOthers(c.Incarnation, op.RegisterServer.Server.Id)
	case *storepb.Command_RemoveServer:
		return b.removeServer(op.RemoveServer.Id)
	case *storepb.Command_PutInvite:
		i := &storepb.Invite{SecretHash: op.PutInvite.SecretHash, ExpiresTick: op.PutInvite.ExpiresTick}
		return &storepb.Result{}, b.save(key(tabInvite, i.SecretHash), i)
	case *storepb.Command_ConsumeInvite:
		return b.consumeInvite(op.ConsumeInvite)
	case *storepb.Command_Have:
		for _, body := range op.Have.Bodies {
			if err := b.Delete(missingKey(op.Have.Server, body)); err != nil {
				return nil, err
			}
		}
		return &storepb.Result{}, nil
	case *storepb.Command_Lost:
		return b.lost(op.Lost)
	case *storepb.Command_Reconfigure:
		return b.reconfigure(op.Reconfigure)
	case *storepb.Command_AdvanceEpoch:
		return b.changeCluster(func(cr *storepb.ClusterRecord) bool {
			ok := cr.Epoch == op.AdvanceEpoch.From
			cr.Epoch = op.AdvanceEpoch.From + 1
			return ok
		})
	case *storepb.Command_Tick:
		return b.changeCluster(func(cr *storepb.ClusterRecord) bool {
			cr.TicksMs += op.Tick.Ms
			return op.Tick.Ms <= 24*3600*1000
		})
	case *storepb.Command_RaiseVersion:
		return b.changeCluster(func(cr *storepb.ClusterRecord) bool {
			ok := op.RaiseVersion.Version > cr.Version
			cr.Version = op.RaiseVersion.Version
			return ok
		})
	case *storepb.Command_Sweep:
		return b.sweep(op.Sweep)
	case *storepb.Command_PutSecret:
		k := key(tabSecret, op.PutSecret.Name)
		if found, err := has(b, k); err != nil || found && op.PutSecret.Create {
			return refuse(store.ErrExists, "the secret %s exists", op.PutSecret.Name), err
		}
		return &storepb.Result{}, b.Set(k, op.PutSecret.Value)
	case *storepb.Command_RetireIncarnation:
		return b.retire(op.RetireIncarnation.Incarnation)
	}
	return nil, fmt.Errorf("an operation %T unknown to this program: upgrade this node", c.Op)
}

// changeCluster changes the cluster's record, unless change says that the command came too late.
func (b *batch) changeCluster(change func(*storepb.ClusterRecord) bool) (*storepb.Result, error) {
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	if !change(cr) {
		return refuse(store.ErrConflict, "the cluster's record has changed meanwhile"), nil
	}
	b.applied.Cluster = true
	return &storepb.Result{}, b.saveCluster(cr)
}

// registerServer notes who a node is since it started. Its data incarnation never changes under one id (B5).
func (b *batch) registerServer(s *storepb.Server) (*storepb.Result, error) {
	if s.GetId() == "" || len(s.DataIncarnation) != 16 {
		return refuse(store.ErrInvalid, "a server without an id or a data incarnation"), nil
	}
	old := &storepb.Server{}
	found, err := load(b, key(tabServer, s.Id), old)
	if err != nil {
		return nil, err
	}
	if found && string(old.DataIncarnation) != string(s.DataIncarnation) {
		return refuse(store.ErrConflict, "the data of server %s were replaced: it must join anew under a new id", s.Id), nil
	}
	if found && s.Boot > 0 && s.Boot < old.Boot {
		return refuse(store.ErrConflict, "server %s was started again since: two processes use copies of one data folder, or this word of an older one came late", s.Id), nil
	}
	s.Boot = max(s.Boot, old.Boot) // an invite that is shown again knows of no start
	return &storepb.Result{}, b.save(key(tabServer, s.Id), s)
}

// retireOthers ends the incarnations of a server's earlier processes, and with them the results that were kept for these. The process
// itself registers before it proposes anything else, and an older one's word is refused by its boot number.
func (b *batch) retireOthers(own []byte, server string) error {
	var old [][]byte
	err := each(b, key(tabIncarnation), func(rest, raw []byte) (bool, error) {
		inc := &storepb.Incarnation{}
		if err := proto.Unmarshal(raw, inc); err != nil {
			return false, err
		}
		if inc.Server == server && !inc.Retired && !bytes.Equal(rest, own) {
			old = append(old, bytes.Clone(rest))
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("list the incarnations of %s: %w", server, err)
	}
	for _, incarnation := range old {
		if _, err := b.retire(incarnation); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) removeServer(id string) (*storepb.Result, error) {
	if err := b.Delete(key(tabServer, id)); err != nil {
		return nil, err
	}
	missing := missingKey(id, nil)
	return &storepb.Result{}, b.DeleteRange(missing, after(missing))
}

// consumeInvite lets one node use an invite; the same node may ask again.
func (b *batch) consumeInvite(op *storepb.ConsumeInvite) (*storepb.Result, error) {
	i := &storepb.Invite{}
	found, err := load(b, key(tabInvite, op.SecretHash), i)
	if err != nil {
		return nil, err
	}
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	if !found || cr.TicksMs > i.ExpiresTick || i.UsedBy != "" && i.UsedBy != op.Server {
		return refuse(store.ErrDenied, "the invite is unknown, used or expired: make a new one"), nil
	}
	i.UsedBy = op.Server
	if err := b.save(key(tabInvite, op.SecretHash), i); err != nil {
		return nil, err
	}
	return b.registerServer(op.Record)
}

// lost notes that a server does not hold bodies that it was thought to hold; All means every one that there is.
func (b *batch) lost(op *storepb.Lost) (*storepb.Result, error) {
	bodies := op.Bodies
	if op.All {
		bodies = nil
		if err := eachBody(b, func(id []byte, _ uint64) bool { bodies = append(bodies, id); return true }); err != nil {
			return nil, err
		}
	}
	b.applied.Missing = true
	for _, body := range bodies {
		found, err := has(b, key(tabBody, body))
		if err != nil {
			return nil, err
		}
		if !found {
			continue // swept meanwhile
		}
		if err := b.Set(missingKey(op.Server, body), nil); err != nil {
			return nil, err
		}
	}
	return &storepb.Result{}, nil
}

// reconfigure begins or ends a change of voters. Meanwhile Q must be a majority of the old and of the target set (B4).
func (b *batch) reconfigure(op *storepb.Reconfigure) (*storepb.Result, error) {
	return b.changeCluster(func(cr *storepb.ClusterRecord) bool {
		if op.End {
			ok := cr.ReconfigureId == op.Id
			cr.TargetVoters = nil
			return ok
		}
		if len(cr.TargetVoters) > 0 && cr.ReconfigureId != op.Id {
			return false
		}
		cr.TargetVoters, cr.ReconfigureId = op.TargetVoters, op.Id
		return len(op.TargetVoters) > 0
	})
}

// sweep drops emails that nothing refers to; what was referred to again stays (B7).
func (b *batch) sweep(op *storepb.Sweep) (*storepb.Result, error) {
	if len(op.Emails) > maxSweep {
		return refuse(store.ErrTooLarge, "a sweep of more than %d emails", maxSweep), nil
	}
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	for _, email := range op.Emails {
		r, e := &storepb.EmailRefs{}, &storepb.Email{}
		found, err := load(b, key(tabRefs, email), r)
		if err != nil {
			return nil, err
		}
		if !found || r.Refs > 0 || r.TombstoneTick+op.WindowMs > cr.TicksMs {
			continue
		}
		if _, err := load(b, key(tabEmail, email), e); err != nil {
			return nil, err
		}
		if err := b.drop(email, r, e); err != nil {
			return nil, err
		}
	}
	return &storepb.Result{}, nil
}

func (b *batch) drop(email uint64, r *storepb.EmailRefs, e *storepb.Email) error {
	id, err := store.BodyIDFromBytes(e.BodyId)
	if err != nil {
		return err
	}
	b.applied.Dropped = append(b.applied.Dropped, id)
	keys := [][]byte{key(tabRefs, email), key(tabEmail, email), key(tabBody, e.BodyId), key(tabTombstone, r.TombstoneTick, email)}
	for _, s := range b.pos.Servers {
		keys = append(keys, missingKey(s.Id, e.BodyId))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// retire ends an incarnation: nothing that it proposed is executed from here on.
func (b *batch) retire(incarnation []byte) (*storepb.Result, error) {
	if len(incarnation) != 16 {
		return refuse(store.ErrInvalid, "no incarnation"), nil
	}
	inc := &storepb.Incarnation{}
	if _, err := load(b, key(tabIncarnation, incarnation), inc); err != nil {
		return nil, err
	}
	inc.Retired = true
	results := key(tabResult, incarnation)
	if err := b.DeleteRange(results, after(results)); err != nil {
		return nil, err
	}
	return &storepb.Result{}, b.save(key(tabIncarnation, incarnation), inc)
}
