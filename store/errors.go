package store

import "errors"

// The errors that callers act on. Each protocol has one table from these to its replies.
var (
	// ErrNotFound: the thing named does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists: a thing of that name exists already.
	ErrExists = errors.New("already exists")
	// ErrConflict: the thing changed since the caller looked, or the change contradicts another.
	ErrConflict = errors.New("conflict")
	// ErrInvalid: the request can never be carried out as it stands.
	ErrInvalid = errors.New("invalid")
	// ErrOverQuota: the account's quota would be exceeded.
	ErrOverQuota = errors.New("over quota")
	// ErrTooLarge: over a size limit.
	ErrTooLarge = errors.New("too large")
	// ErrDenied: wrong credentials, or not allowed.
	ErrDenied = errors.New("denied")
	// ErrNoSpace: this node's disk is too full to take new mail. Nothing happened; try later or another node.
	ErrNoSpace = errors.New("not enough disk space")
	// ErrUnavailable: nothing happened; try later.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnknownOutcome: it may have happened. Never report it as success nor as a permanent failure.
	ErrUnknownOutcome = errors.New("outcome unknown")
)
