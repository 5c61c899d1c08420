package replica

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// errEnough ends an enumeration early.
var errEnough = errors.New("enough")

// stored is a body of this node's store.
type stored struct {
	id    store.BodyID
	epoch uint64
}

// compare walks the live bodies of a view and those of this node's store side by side, in the order of their ids: absent is told of each that
// only the view has, unreferenced of each that only the store has. Nil is not told. An error of either ends the walk and is returned.
func (r *Replica) compare(v *state.View, absent func(store.BodyID) error, unreferenced func(stored) error) error {
	if absent == nil {
		absent = func(store.BodyID) error { return nil }
	}
	if unreferenced == nil {
		unreferenced = func(stored) error { return nil }
	}
	next, stop := iter.Pull2(r.eachStored())
	defer stop()
	b, err, more := next()
	err2 := v.EachBody(func(id store.BodyID, _ store.EmailID) error {
		for more && err == nil && bytes.Compare(b.id[:], id[:]) < 0 {
			if err := unreferenced(b); err != nil {
				return err
			}
			b, err, more = next()
		}
		switch {
		case err != nil:
			return err
		case !more || b.id != id:
			return absent(id)
		}
		b, err, more = next()
		return nil
	})
	for err2 == nil && more && err == nil {
		if err2 = unreferenced(b); err2 == nil {
			b, err, more = next()
		}
	}
	if err2 == nil {
		err2 = err
	}
	return err2
}

// eachStored is Blobs.Each as a sequence; its last pair may be an error.
func (r *Replica) eachStored() iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		err := r.cfg.Blobs.Each(func(id store.BodyID, epoch uint64, _ int64) error {
			if !yield(stored{id, epoch}, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(stored{}, err)
		}
	}
}

// absent lists up to limit live bodies that are not in this node's store.
func (r *Replica) absent(v *state.View, limit int) ([]store.BodyID, error) {
	var out []store.BodyID
	err := r.compare(v, func(id store.BodyID) error {
		if out = append(out, id); len(out) == limit {
			return errEnough
		}
		return nil
	}, nil)
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("compare bodies with the state: %w", err)
	}
	return out, nil
}

// absentFrom lists up to limit live bodies from an id on that are not in this node's store, and where to go on; none is left when more is
// false. Unlike compare it asks for each body, so that a walk in pages reads everything once.
func (r *Replica) absentFrom(from store.BodyID, limit int) (ids []store.BodyID, next store.BodyID, more bool, err error) {
	v := r.View()
	defer v.Close()
	err = v.EachBodyFrom(from, func(id store.BodyID, _ store.EmailID) error {
		if len(ids) == limit {
			next, more = id, true
			return errEnough
		}
		has, err := r.cfg.Blobs.Has(id)
		if err == nil && !has {
			ids = append(ids, id)
		}
		return err
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, next, false, fmt.Errorf("look for absent bodies: %w", err)
	}
	return ids, next, more, nil
}

// isMember tells whether the state, as applied here, counts this node among the members.
func (r *Replica) isMember() (bool, error) {
	v := r.View()
	defer v.Close()
	at, err := v.Position()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(at.GetServers(), func(s *storepb.ConfiguredServer) bool { return s.Id == string(r.cfg.Self) }), nil
}
