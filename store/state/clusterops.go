package state

import (
	"fmt"
	"slices"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func (b *batch) cluster() (*storepb.ClusterRecord, error) {
	cr := &storepb.ClusterRecord{Version: firstVersion, Epoch: 1}
	_, err := load(b, key(tabCluster), cr)
	return cr, err
}

func (b *batch) saveCluster(cr *storepb.ClusterRecord) error { return b.save(key(tabCluster), cr) }

// clusterOperation applies the commands about nodes, bodies and time.
func (b *batch) clusterOperation(c *storepb.Command) (*storepb.Result, error) {
	switch op := c.Op.(type) {
	case *storepb.Command_RegisterServer:
		return b.registerStart(op.RegisterServer.GetServer())
	case *storepb.Command_RemoveServer:
		return b.removeServer(op.RemoveServer.Id)
	case *storepb.Command_PutInvite:
		return b.putInvite(op.PutInvite)
	case *storepb.Command_ConsumeInvite:
		return b.consumeInvite(op.ConsumeInvite)
	case *storepb.Command_Have:
		return b.have(op.Have)
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
		return b.tick(op.Tick)
	case *storepb.Command_RaiseVersion:
		return b.raiseVersion(op.RaiseVersion.Version)
	case *storepb.Command_Sweep:
		return b.sweep(op.Sweep)
	case *storepb.Command_HoldSweeps:
		return b.holdSweeps(op.HoldSweeps)
	case *storepb.Command_PutSecret:
		return b.putSecret(op.PutSecret)
	case *storepb.Command_RemoveSecret:
		return &storepb.Result{}, b.Delete(key(tabSecret, op.RemoveSecret.Name))
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

// tick advances the replicated time, and drops what has a time only. The time since a moment is counted once, whoever proposes it how often.
func (b *batch) tick(op *storepb.Tick) (*storepb.Result, error) {
	if op.Ms > maxTickMs {
		return refuse(store.ErrInvalid, "a tick of %d ms", op.Ms), nil
	}
	var before, now uint64
	res, err := b.changeCluster(func(cr *storepb.ClusterRecord) bool {
		ok := op.From == nil || *op.From == cr.TicksMs
		before, now = cr.TicksMs, cr.TicksMs+op.Ms
		cr.TicksMs = now
		return ok
	})
	if err != nil || res.Code != 0 {
		return res, err
	}
	if err := b.forgetResends(before, now); err != nil {
		return nil, err
	}
	return res, b.forgetTraces(before, now)
}

// reconfigure begins or ends a change of voters. Meanwhile Q must be a majority of the old and of the target set (B4).
func (b *batch) reconfigure(op *storepb.Reconfigure) (*storepb.Result, error) {
	if !op.End && !validVoters(op.TargetVoters) {
		return refuse(store.ErrInvalid, "no proper set of target voters"), nil
	}
	return b.changeCluster(func(cr *storepb.ClusterRecord) bool {
		if op.End {
			cr.TargetVoters = nil
			return cr.ReconfigureId == op.Id
		}
		// The same change may be begun again, with the same target.
		if len(cr.TargetVoters) > 0 && (cr.ReconfigureId != op.Id || !slices.Equal(cr.TargetVoters, op.TargetVoters)) {
			return false
		}
		cr.TargetVoters, cr.ReconfigureId = op.TargetVoters, op.Id
		return true
	})
}

// validVoters: each stands there once, or its word would count twice.
func validVoters(ids []string) bool {
	if len(ids) == 0 || len(ids) > maxTargetVoters {
		return false
	}
	seen := map[string]bool{}
	for _, id := range ids {
		if !validServerID(id) || seen[id] {
			return false
		}
		seen[id] = true
	}
	return true
}

// raiseVersion lets commands of a newer format into the log, once every member has said that it knows them.
func (b *batch) raiseVersion(version uint32) (*storepb.Result, error) {
	for _, m := range b.pos.Servers {
		s := &storepb.Server{}
		if _, err := load(b, key(tabServer, m.Id), s); err != nil {
			return nil, err
		}
		if s.MaxVersion < version {
			return refuse(store.ErrConflict, "server %s knows commands up to version %d only: upgrade it first", m.Id, s.MaxVersion), nil
		}
	}
	if version > CommandVersion {
		return nil, fmt.Errorf("the cluster goes on to version %d, and this program knows %d: upgrade this node", version, CommandVersion)
	}
	return b.changeCluster(func(cr *storepb.ClusterRecord) bool {
		ok := version > cr.Version
		cr.Version = version
		return ok
	})
}

func (b *batch) putSecret(op *storepb.PutSecret) (*storepb.Result, error) {
	if op.Name == "" || !validText(op.Name, maxSecretNameBytes) || len(op.Value) > maxSecretBytes {
		return refuse(store.ErrInvalid, "no proper secret"), nil
	}
	k := key(tabSecret, op.Name)
	if found, err := has(b, k); err != nil || found && op.Create {
		return refuse(store.ErrExists, "the secret %s exists", op.Name), err
	}
	return &storepb.Result{}, b.Set(k, op.Value)
}
