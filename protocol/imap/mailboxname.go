package imap

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// utf7 is the alphabet of modified base64 (RFC 3501 §5.1.3): "," for "/", no padding.
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding).Strict()

var errUTF7 = errors.New("imap: bad modified UTF-7")

// CanonicalMailbox returns "INBOX" for INBOX in any case, and other names as they are.
func CanonicalMailbox(name string) string {
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	return name
}

// EncodeMailbox returns a UTF-8 name in modified UTF-7 (RFC 3501 §5.1.3).
func EncodeMailbox(name string) string {
	var b strings.Builder
	for len(name) > 0 {
		if c := name[0]; c >= ' ' && c <= '~' {
			b.WriteByte(c)
			if c == '&' {
				b.WriteByte('-')
			}
			name = name[1:]
			continue
		}
		var units []byte
		for len(name) > 0 && (name[0] < ' ' || name[0] > '~') {
			r, n := utf8.DecodeRuneInString(name)
			name = name[n:]
			for _, u := range utf16.AppendRune(nil, r) {
				units = append(units, byte(u>>8), byte(u))
			}
		}
		b.WriteString("&" + utf7.EncodeToString(units) + "-")
	}
	return b.String()
}

// DecodeMailbox returns a name in modified UTF-7 as UTF-8. Raw UTF-8 in the name is let pass: clients send it. What has
// a second spelling is refused, or one mailbox would have two names.
func DecodeMailbox(s string) (string, error) {
	if strings.IndexByte(s, '&') < 0 {
		return s, nil
	}
	var b strings.Builder
	for len(s) > 0 {
		plain, rest, shifted := strings.Cut(s, "&")
		b.WriteString(plain)
		if !shifted {
			break
		}
		code, rest, closed := strings.Cut(rest, "-")
		if !closed {
			return "", errUTF7
		}
		s = rest
		if code == "" {
			b.WriteByte('&')
			continue
		}
		text, err := decodeShifted(code)
		if err != nil || strings.HasPrefix(rest, "&") && !strings.HasPrefix(rest, "&-") {
			return "", errUTF7 // RFC 3501 §5.1.3: no shift right after another
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

func decodeShifted(code string) (string, error) {
	raw, err := utf7.DecodeString(code)
	if err != nil || len(raw)%2 != 0 {
		return "", errUTF7
	}
	units := make([]uint16, 0, len(raw)/2)
	for i := 0; i < len(raw); i += 2 {
		units = append(units, uint16(raw[i])<<8|uint16(raw[i+1]))
	}
	text := utf16.Decode(units)
	for _, r := range text {
		// U+FFFD stands for a lone surrogate; printable ASCII must not be shifted.
		if r == utf8.RuneError || r >= ' ' && r <= '~' {
			return "", errUTF7
		}
	}
	return string(text), nil
}

// MatchPattern tells whether a mailbox name matches a pattern of LIST: "*" is any text, "%" any text without
// the hierarchy delimiter (RFC 9051 §6.3.9). INBOX matches in any case. It takes time proportional to the product of the lengths.
func MatchPattern(pattern, name string, delim byte) bool {
	if strings.EqualFold(name, "INBOX") && strings.EqualFold(pattern, "INBOX") {
		return true
	}
	// reach[j]: the pattern so far matches the first j bytes of the name.
	reach := make([]bool, len(name)+1)
	reach[0] = true
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*', '%':
			for j := 1; j <= len(name); j++ {
				reach[j] = reach[j] || reach[j-1] && (c == '*' || name[j-1] != delim)
			}
		default:
			for j := len(name); j > 0; j-- {
				reach[j] = reach[j-1] && name[j-1] == c
			}
			reach[0] = false
		}
	}
	return reach[len(name)]
}
