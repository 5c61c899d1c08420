package state

import (
	"bytes"
	"context"
	"fmt"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/broken"
	"github.com/quorumail/quorumail/store/storepb"
)

// Where bodies are: conditions B1, B3, B6 and B7 of Apply.

// keepBody puts an inline body into the blob store, or notes who lacks one that went beside the log (B3).
func (b *batch) keepBody(ref *storepb.BodyRef, good map[string]bool) error {
	if len(ref.Inline) > 0 {
		id := store.BodyID(ref.Id)
		if err := b.m.cfg.Blobs.Put(context.TODO(), id, ref.Epoch, bytes.NewReader(ref.Inline), int64(len(ref.Inline)), false); err != nil {
			return fmt.Errorf("store an inline body: %w", err)
		}
		return b.Set(inlineKey(b.pos.Index, ref.Id), nil)
	}
	for _, s := range b.pos.Servers {
		if good[s.Id] {
			continue
		}
		b.applied.Missing = true
		if err := b.Set(missingKey(s.Id, ref.Id), nil); err != nil {
			return err
		}
	}
	return nil
}

func missingKey(server string, body []byte) []byte {
	return key(tabMissing, server, []byte{0}, body)
}

// checkBody rejects, on every node alike, a body that is not on enough disks (B1), that was uploaded too long ago (B7), or whose id is
// taken (B6). good are the servers that hold a body beside the log.
func (b *batch) checkBody(ref *storepb.BodyRef) (good map[string]bool, res *storepb.Result, err error) {
	cr, err := b.cluster()
	if err != nil {
		return nil, nil, err
	}
	if ref.Epoch+1 < cr.Epoch || ref.Epoch > cr.Epoch {
		return nil, refuse(store.ErrUnavailable, "the body was uploaded in epoch %d, and it is %d", ref.Epoch, cr.Epoch), nil
	}
	if found, err := b.Has(key(tabBody, ref.Id)); err != nil || found && !broken.On(broken.Dedupe) {
		return nil, refuse(store.ErrUnavailable, "a body of this id is in use"), err
	}
	if len(ref.Inline) > 0 {
		return nil, nil, nil
	}
	if good, err = b.goodAcks(ref); err != nil {
		return nil, nil, err
	}
	var voters []string
	for _, s := range b.pos.Servers {
		if s.Voter {
			voters = append(voters, s.Id)
		}
	}
	if res := majority(voters, good); res != nil {
		return nil, res, nil
	}
	if len(cr.TargetVoters) > 0 { // B4
		return good, majority(cr.TargetVoters, good), nil
	}
	return good, nil, nil
}

// majority refuses what is not on more than half of a set of voters.
func majority(voters []string, good map[string]bool) *storepb.Result {
	if broken.On(broken.QuorumSet) {
		return nil
	}
	n := 0
	for _, id := range voters {
		if good[id] {
			n++
		}
	}
	if n <= len(voters)/2 {
		return refuse(store.ErrUnavailable, "the body is on %d of %d voters", n, len(voters))
	}
	return nil
}

// goodAcks are the servers whose word counts: those that still are the disk that gave it.
func (b *batch) goodAcks(ref *storepb.BodyRef) (map[string]bool, error) {
	good := map[string]bool{}
	for _, a := range ref.Quorum {
		s := &storepb.Server{}
		found, err := load(b, key(tabServer, a.Server), s)
		if err != nil {
			return nil, err
		}
		if found && !s.Removed && bytes.Equal(s.DataIncarnation, a.DataIncarnation) {
			good[a.Server] = true
		}
	}
	return good, nil
}

// have notes that a server holds bodies which it was not known to hold.
func (b *batch) have(op *storepb.Have) (*storepb.Result, error) {
	if res := checkBodies(op.Server, op.Bodies); res != nil {
		return res, nil
	}
	for _, body := range op.Bodies {
		if err := b.Delete(missingKey(op.Server, body)); err != nil {
			return nil, err
		}
	}
	return &storepb.Result{}, nil
}

// lost notes that a server does not hold bodies that it was thought to hold.
func (b *batch) lost(op *storepb.Lost) (*storepb.Result, error) {
	if res := checkBodies(op.Server, op.Bodies); res != nil {
		return res, nil
	}
	s := &storepb.Server{}
	if found, err := load(b, key(tabServer, op.Server), s); err != nil || !found || s.Removed {
		return refuse(store.ErrNotFound, "there is no server %s", op.Server), err
	}
	b.applied.Missing = true
	for _, body := range op.Bodies {
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

func checkBodies(server string, bodies [][]byte) *storepb.Result {
	if !validServerID(server) || len(bodies) > maxBodiesPerCommand {
		return refuse(store.ErrInvalid, "no proper server, or over %d bodies", maxBodiesPerCommand)
	}
	for _, id := range bodies {
		if len(id) != store.BodyIDBytes {
			return refuse(store.ErrInvalid, "a body id of %d bytes", len(id))
		}
	}
	return nil
}
