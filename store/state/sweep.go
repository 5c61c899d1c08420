package state

import (
	"bytes"
	"slices"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// sweep drops emails that nothing refers to; what was referred to again stays, and so does everything while a backup holds sweeps (B7, B8).
func (b *batch) sweep(op *storepb.Sweep) (*storepb.Result, error) {
	if len(op.Emails) > maxSweep {
		return refuse(store.ErrTooLarge, "a sweep of more than %d emails", maxSweep), nil
	}
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	if held(cr) {
		return refuse(store.ErrConflict, "a backup holds sweeps"), nil
	}
	missing, err := b.missingServers()
	if err != nil {
		return nil, err
	}
	for _, email := range op.Emails {
		r, e := &storepb.EmailRefs{}, &storepb.Email{}
		found, err := load(b, key(tabRefs, email), r)
		if err != nil {
			return nil, err
		}
		if !found || r.Refs > 0 || cr.TicksMs < r.TombstoneTick || cr.TicksMs-r.TombstoneTick < op.WindowMs {
			continue
		}
		if err := must(b, key(tabEmail, email), e); err != nil {
			return nil, err
		}
		if err := b.drop(email, r, e, missing); err != nil {
			return nil, err
		}
	}
	return &storepb.Result{}, nil
}

func (b *batch) drop(email uint64, r *storepb.EmailRefs, e *storepb.Email, missing []string) error {
	id, err := store.BodyIDFromBytes(e.BodyId)
	if err != nil {
		return err
	}
	b.applied.Dropped = append(b.applied.Dropped, id)
	keys := [][]byte{key(tabRefs, email), key(tabEmail, email), key(tabBody, e.BodyId), key(tabTombstone, r.TombstoneTick, email)}
	for _, s := range missing {
		keys = append(keys, missingKey(s, e.BodyId))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// missingServers are the servers that are noted as lacking any body, members or not.
func (b *batch) missingServers() (servers []string, err error) {
	table := key(tabMissing)
	for from, end := table, after(table); ; {
		first, err := keysOf(b, from, end, 1)
		if err != nil || len(first) == 0 {
			return servers, err
		}
		rest := first[0][len(table):]
		id := string(rest[:bytes.IndexByte(rest, 0)])
		servers = append(servers, id)
		from = after(missingKey(id, nil))
	}
}

// holdSweeps keeps everything that is there while a backup copies it. A hold that is not renewed ends by itself, in replicated time.
func (b *batch) holdSweeps(op *storepb.HoldSweeps) (*storepb.Result, error) {
	if len(op.Id) != incarnationBytes || op.ForMs > maxHoldMs {
		return refuse(store.ErrInvalid, "no proper hold, or one of over %d ms", maxHoldMs), nil
	}
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	known := false
	cr.Holds = slices.DeleteFunc(cr.Holds, func(h *storepb.SweepHold) bool {
		own := bytes.Equal(h.Id, op.Id)
		known = known || own && h.UntilTick > cr.TicksMs
		return own || h.UntilTick <= cr.TicksMs
	})
	switch {
	case op.Renew && !known:
		return refuse(store.ErrNotFound, "the hold has expired: what it kept may be gone"), nil
	case len(cr.Holds) >= maxHolds:
		return refuse(store.ErrTooLarge, "%d backups hold sweeps already", len(cr.Holds)), nil
	}
	if op.ForMs > 0 {
		cr.Holds = append(cr.Holds, &storepb.SweepHold{Id: op.Id, UntilTick: cr.TicksMs + op.ForMs})
	}
	return &storepb.Result{}, b.saveCluster(cr)
}

func held(cr *storepb.ClusterRecord) bool {
	return slices.ContainsFunc(cr.Holds, func(h *storepb.SweepHold) bool { return h.UntilTick > cr.TicksMs })
}
