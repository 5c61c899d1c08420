package sasl

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxUserBytes bounds a user name.
const MaxUserBytes = 512

// Plain is a response of the PLAIN mechanism.
type Plain struct {
	Identity string // to act as; "" or the user
	User     string // whose password it is
	Password string
}

// DecodePlain reads a PLAIN response, base64 already removed (RFC 4616 §2): [authzid] NUL authcid NUL passwd. Errors wrap ErrResponse.
func DecodePlain(response []byte) (Plain, error) {
	parts := strings.Split(string(response), "\x00")
	if len(parts) != 3 {
		return Plain{}, fmt.Errorf("%w: not three parts with a zero byte between", ErrResponse)
	}
	p := Plain{parts[0], parts[1], parts[2]}
	switch {
	case !utf8.Valid(response):
		return Plain{}, fmt.Errorf("%w: not UTF-8", ErrResponse)
	case p.User == "" || p.Password == "":
		return Plain{}, fmt.Errorf("%w: no user or no password", ErrResponse)
	case len(p.User) > MaxUserBytes || len(p.Identity) > MaxUserBytes || len(p.Password) > MaxPasswordBytes:
		return Plain{}, fmt.Errorf("%w: too long", ErrResponse)
	}
	return p, nil
}

// Login is the server's side of the LOGIN mechanism, which was never standardised and which old clients still need: it asks for the user
// name and then for the password. The zero value is ready.
type Login struct {
	User     string
	Password string
	step     int
}

// Next takes a response (nil at the start, when the client sent no initial response) and returns the next challenge, or done when User and
// Password are known. Errors wrap ErrResponse.
func (l *Login) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil && l.step == 0 {
		l.step = 1
		return []byte("Username:"), false, nil
	}
	if !utf8.Valid(response) || len(response) == 0 || strings.ContainsRune(string(response), 0) {
		return nil, false, fmt.Errorf("%w: empty, or not text", ErrResponse)
	}
	switch l.step {
	case 0, 1: // some clients send the user name as the initial response
		if len(response) > MaxUserBytes {
			return nil, false, fmt.Errorf("%w: too long", ErrResponse)
		}
		l.User, l.step = string(response), 2
		return []byte("Password:"), false, nil
	case 2:
		if len(response) > MaxPasswordBytes {
			return nil, false, fmt.Errorf("%w: too long", ErrResponse)
		}
		l.Password, l.step = string(response), 3
		return nil, true, nil
	}
	return nil, false, fmt.Errorf("%w: one too many", ErrResponse)
}
