package sasl

import (
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// MaxPasswordBytes bounds a password, before and after preparation.
const MaxPasswordBytes = 1024

// Prepare brings a password into the form that is hashed, so that it is the same from every keyboard: RFC 8265 §4 OpaqueString, which maps
// spaces to the ASCII one and composes (NFC), and refuses control characters and the empty string. Errors wrap [ErrPassword].
func Prepare(password string) (string, error) {
	if len(password) > MaxPasswordBytes {
		return "", fmt.Errorf("%w: more than %d bytes", ErrPassword, MaxPasswordBytes)
	}
	p, err := precis.OpaqueString.String(password)
	if err != nil || !utf8.ValidString(password) {
		// The library's error may quote what it refuses; a password must not get into a log.
		return "", fmt.Errorf("%w: empty, or with characters that a password cannot have", ErrPassword)
	}
	if len(p) > MaxPasswordBytes {
		return "", fmt.Errorf("%w: more than %d bytes", ErrPassword, MaxPasswordBytes)
	}
	return p, nil
}
