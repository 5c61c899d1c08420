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
