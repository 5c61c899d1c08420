package state

import (
	"errors"
	"fmt"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// The codes of results, of commands and of single placed messages. They are part of the disk's format.
const (
	// CodeOK: it was done.
	CodeOK uint32 = 0
	// CodeNotFound is store.ErrNotFound.
	CodeNotFound uint32 = 1
	// CodeExists is store.ErrExists.
	CodeExists uint32 = 2
	// CodeConflict is store.ErrConflict.
	CodeConflict uint32 = 3
	// CodeInvalid is store.ErrInvalid.
	CodeInvalid uint32 = 4
	// CodeOverQuota is store.ErrOverQuota.
	CodeOverQuota uint32 = 5
	// CodeTooLarge is store.ErrTooLarge.
	CodeTooLarge uint32 = 6
	// CodeDenied is store.ErrDenied.
	CodeDenied uint32 = 7
	// CodeUnavailable is store.ErrUnavailable: a definite rejection. Nothing happened, and it may be tried anew under a new command id
	// and, if it carries a body, a new body id.
	CodeUnavailable uint32 = 8
)

// codeErrors are the errors behind the codes.
var codeErrors = [...]error{
	CodeOK: nil, CodeNotFound: store.ErrNotFound, CodeExists: store.ErrExists, CodeConflict: store.ErrConflict, CodeInvalid: store.ErrInvalid,
	CodeOverQuota: store.ErrOverQuota, CodeTooLarge: store.ErrTooLarge, CodeDenied: store.ErrDenied, CodeUnavailable: store.ErrUnavailable,
}

// ResultError is nil for a result that says success, else an error that wraps the store's error of its code. A code that is not known,
// as a later version may have, is store.ErrInvalid.
func ResultError(r *storepb.Result) error {
	code := r.GetCode()
	if code == CodeOK {
		return nil
	}
	err := store.ErrInvalid
	if int(code) < len(codeErrors) {
		err = codeErrors[code]
	}
	if r.GetDetail() == "" {
		return err
	}
	return fmt.Errorf("%s: %w", r.GetDetail(), err)
}

// codeOf is the code of an error of this package; ok is false for one that is no answer to a command but a reason to stop the node.
func codeOf(err error) (code uint32, ok bool) {
	for code := CodeNotFound; code <= CodeUnavailable; code++ {
		if errors.Is(err, codeErrors[code]) {
			return code, true
		}
	}
	return 0, false
}
