package imapd

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
)

// answer is the tagged OK of a command; zero: no code, the usual text.
type answer struct {
	code    imap.Code
	text    string
	highest bool // the code is HIGHESTMODSEQ after the updates, for a client that knows mod-sequences (RFC 7162 §3.2.7)
}

// refusal is a tagged NO.
type refusal struct {
	code imap.Code
	text string
}

func (r *refusal) Error() string { return r.text }

func no(code imap.Code, text string) error { return &refusal{code, text} }

// badError is a tagged BAD: the command makes no sense here.
type badError struct{ text string }

func (b *badError) Error() string { return b.text }

func bad(text string) error { return &badError{text} }

// byeError ends the session with an untagged BYE instead of a tagged answer.
type byeError struct {
	code imap.Code
	text string
}

func (b *byeError) Error() string { return b.text }

// storeReplies is the table from the store's errors to answers. The first that fits counts: an error may wrap several.
var storeReplies = []struct {
	err   error
	reply refusal
}{
	// Never success, never a permanent failure: it may have happened.
	{store.ErrUnknownOutcome, refusal{imap.CodeUnavailable, "Outcome unknown: it may have been done, look before trying again"}},
	{store.ErrOverQuota, refusal{imap.CodeOverQuota, "Quota exceeded"}},
	{store.ErrNoSpace, refusal{imap.CodeUnavailable, "Server has no room for new mail just now"}},
	{store.ErrUnavailable, refusal{imap.CodeUnavailable, "Service unavailable just now, nothing was done"}},
	{store.ErrExists, refusal{imap.CodeAlreadyExists, "Exists already"}},
	{store.ErrNotFound, refusal{imap.CodeNonExistent, "No such mailbox or message"}},
	{store.ErrTooLarge, refusal{imap.CodeLimit, "Over a limit of this server"}},
	{store.ErrDenied, refusal{imap.CodeNoPerm, "Not permitted"}},
	{store.ErrConflict, refusal{imap.CodeInUse, "Changed by another client meanwhile"}},
	{store.ErrInvalid, refusal{imap.CodeCannot, "That can not be done"}},
	{context.Canceled, refusal{imap.CodeUnavailable, "Server is shutting down"}},
}

// refusalOf finds the NO for an error; known is false for one that no client can have caused.
func refusalOf(err error) (r *refusal, known bool) {
	if errors.As(err, &r) {
		return r, true
	}
	var partial *replica.PartialError
	if errors.As(err, &partial) {
		r, known = refusalOf(partial.Err)
		// Whatever is said of the rest: it was not all, and it was not nothing.
		return &refusal{r.code, fmt.Sprintf("Done for the first %d messages only; look before trying again", partial.Done)}, known
	}
	for i := range storeReplies {
		if errors.Is(err, storeReplies[i].err) {
			return &storeReplies[i].reply, true
		}
	}
	return &refusal{imap.CodeServerBug, "Internal error"}, false
}

// unavailable gives the end of a wait its meaning: nothing happened.
func unavailable(what string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// unknown gives the end of a wait its meaning: something may have happened.
func unknown(what string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, store.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
