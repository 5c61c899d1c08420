package sasl

import "errors"

var (
	// ErrPassword: the password can be nobody's: empty, too long, or with characters that none may have.
	ErrPassword = errors.New("unusable password")
	// ErrBusy: too many passwords wait to be checked already. Nothing was checked.
	ErrBusy = errors.New("too many password checks at once")
	// ErrStored: a stored form cannot be read, or asks for more than is allowed.
	ErrStored = errors.New("unreadable stored password")
	// ErrResponse: a client's response does not have the form that the mechanism prescribes.
	ErrResponse = errors.New("malformed response")
)
