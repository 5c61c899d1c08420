package imapd

import (
	"errors"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

const (
	// chunkMessages and chunkBytes bound what is read of the state at once. No snapshot is open while a client is written to: a slow
	// one would keep old data alive.
	chunkMessages = 256
	chunkBytes    = 128 << 10
)

// item is a message as a command meets it.
type item struct {
	seq, uid uint32
	entry    *storepb.Entry
	email    *storepb.Email // nil where it was not asked for
}

// each calls f for the messages of the ranges, ascending, that still exist, until f fails. missing says that some were expunged.
func (s *session) each(ranges []seqRange, withEmail bool, f func(*item) error) (missing bool, err error) {
	var chunk []item
	for _, r := range ranges {
		for next := r.first; next <= r.last; {
			last := min(r.last, next+chunkMessages-1)
			err := s.view(func(v View) (err error) {
				chunk, next, err = s.chunk(v, chunk[:0], next, last, withEmail)
				return err
			})
			if err != nil {
				return missing, err
			}
			for i := range chunk {
				it := &chunk[i]
				if it.entry == nil {
					missing = true
					continue
				}
				if err := f(it); err != nil {
					return missing, err
				}
				*it = item{}
			}
		}
	}
	return missing, nil
}

// chunk reads messages first to last, or fewer where they are large, and says with which to go on.
func (s *session) chunk(v View, chunk []item, first, last uint32, withEmail bool) ([]item, uint32, error) {
	uids := s.sel.uids[first-1 : last]
	for i, uid := range uids {
		chunk = append(chunk, item{seq: first + uint32(i), uid: uid})
	}
	i := 0
	err := v.Entries(s.account(), s.sel.id, store.UID(uids[0]), func(uid store.UID, e *storepb.Entry) bool {
		for i < len(chunk) && chunk[i].uid < uint32(uid) {
			i++
		}
		if i == len(chunk) {
			return false
		}
		if chunk[i].uid == uint32(uid) {
			chunk[i].entry = e
			i++
		}
		return i < len(chunk)
	})
	if err != nil || !withEmail {
		return chunk, last + 1, err
	}
	bytes := 0
	for i := range chunk {
		if chunk[i].entry == nil {
			continue
		}
		email, err := v.Email(store.EmailID(chunk[i].entry.GetEmail()))
		if errors.Is(err, store.ErrNotFound) {
			chunk[i].entry = nil
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		chunk[i].email = email
		if bytes += len(email.GetSummary()); bytes >= chunkBytes {
			return chunk[:i+1], chunk[i].seq + 1, nil
		}
	}
	return chunk, last + 1, nil
}
