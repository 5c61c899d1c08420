package state

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// maxPointDeletes is up to how many results are deleted one by one. More are a range, which costs readers something until it is compacted.
const maxPointDeletes = 256

// forgetResults drops the results of [from, to), which their proposer will not ask for again.
func (b *batch) forgetResults(incarnation []byte, from, to uint64) error {
	if to > from+maxPointDeletes {
		return b.DeleteRange(key(tabResult, incarnation, from), key(tabResult, incarnation, to))
	}
	for seq := from; seq < to; seq++ {
		if err := b.Delete(key(tabResult, incarnation, seq)); err != nil {
			return err
		}
	}
	return nil
}

// keepResult keeps a result for when its command is proposed again. Its wording is left out: that may differ between programs that run
// side by side, and the state may not.
func (b *batch) keepResult(c *storepb.Command, res *storepb.Result) (*storepb.Result, error) {
	res.Index = b.pos.Index
	kept := res
	if res.Detail != "" {
		kept = proto.CloneOf(res)
		kept.Detail = ""
	}
	return res, b.save(key(tabResult, c.Incarnation, c.Seq), kept)
}

// LookupResult finds the result of a command that was applied, also before a restore.
func (m *Machine) LookupResult(incarnation [16]byte, seq uint64) (*storepb.Result, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	res := &storepb.Result{}
	found, err := load(m.db, key(tabResult, incarnation[:], seq), res)
	return res, err == nil && found
}

// CodeUnavailable is the code of a definite rejection that a new attempt, under new ids, may not meet.
var CodeUnavailable = codeOf(store.ErrUnavailable)

var codes = []error{nil, store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrInvalid, store.ErrOverQuota, store.ErrTooLarge, store.ErrDenied, store.ErrUnavailable}

func codeOf(err error) uint32 {
	for i, e := range codes {
		if i > 0 && errors.Is(err, e) {
			return uint32(i)
		}
	}
	panic("state: an error without a code")
}

func refuse(err error, format string, args ...any) *storepb.Result {
	return &storepb.Result{Code: codeOf(err), Detail: fmt.Sprintf(format, args...)}
}

// CodeError is the error of package store that a result's code stands for, nil for success.
func CodeError(code uint32) error {
	if int(code) >= len(codes) {
		return fmt.Errorf("result code %d: %w", code, store.ErrInvalid)
	}
	return codes[code]
}

// ResultError is the error that a result stands for, nil for success.
func ResultError(r *storepb.Result) error {
	if r.Code == 0 {
		return nil
	}
	if r.Detail == "" { // kept from an earlier time
		return fmt.Errorf("the command was refused: %w", CodeError(r.Code))
	}
	return fmt.Errorf("%s: %w", r.Detail, CodeError(r.Code))
}
