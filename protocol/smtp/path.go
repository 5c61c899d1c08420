package smtp

import (
	"errors"
	"fmt"
	"strings"
)

// ParsePath reads the path at the start of s, the argument of MAIL FROM: or RCPT TO: (RFC 5321 §4.1.2), and returns what follows its
// closing bracket: nothing, or a space and parameters. "<>" gives the null address. "<postmaster>", in any case, gives an address without
// a domain (RFC 5321 §4.5.1). A source route is read and ignored (RFC 5321 appendix C). Errors wrap [ErrAddress].
func ParsePath(s string) (path Address, rest string, err error) {
	path, rest, err = parsePath(s)
	if err != nil {
		return Address{}, "", fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return path, rest, nil
}

func parsePath(s string) (Address, string, error) {
	inner, rest, err := cutBrackets(s)
	if err != nil {
		return Address{}, "", err
	}
	if rest != "" && rest[0] != ' ' {
		return Address{}, "", errors.New("something other than a space after the closing bracket")
	}
	if inner == "" {
		return Address{}, rest, nil
	}
	if inner, err = cutRoute(inner); err != nil {
		return Address{}, "", err
	}
	if strings.EqualFold(inner, "postmaster") {
		return Address{Local: inner}, rest, nil
	}
	a, err := parseAddress(inner)
	return a, rest, err
}

// cutBrackets finds the bracket that ends the path: not one within quotes.
func cutBrackets(s string) (inner, rest string, err error) {
	if !strings.HasPrefix(s, "<") {
		return "", "", errors.New("no opening bracket")
	}
	quoted := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			return s[1:i], s[i+1:], nil
		}
	}
	return "", "", errors.New("no closing bracket")
}

// cutRoute takes away "@one,@two:". The hosts in it must be well formed all the same: what looks like a route and is none is an attempt to
// be read in two ways.
func cutRoute(s string) (string, error) {
	if !strings.HasPrefix(s, "@") {
		return s, nil
	}
	for {
		host, ok := strings.CutPrefix(s, "@")
		if !ok {
			return "", errors.New("a source route with a host that does not start with @")
		}
		end := 0
		if strings.HasPrefix(host, "[") {
			end = strings.IndexByte(host, ']') + 1 // a literal may hold colons
		}
		n := strings.IndexAny(host[end:], ",:")
		if n < 0 {
			return "", errors.New("a source route without an end")
		}
		end += n
		if _, err := ParseDomain(host[:end]); err != nil {
			return "", fmt.Errorf("source route: %w", err)
		}
		s = host[end+1:]
		if host[end] == ':' {
			return s, nil
		}
	}
}
