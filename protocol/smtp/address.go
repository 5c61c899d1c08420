package smtp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits on addresses, in bytes.
const (
	// MaxLocalBytes bounds a local part. RFC 5321 §4.5.3.1.1 says 64, but return addresses that encode a recipient are longer in
	// practice, and the same section asks not to limit where one need not.
	MaxLocalBytes = 128
	// MaxDomainBytes bounds a domain in its ASCII form (RFC 5321 §4.5.3.1.2; 253 is what fits into the DNS).
	MaxDomainBytes = 253
	// MaxAddressBytes bounds local part, @ and ASCII domain together: a path of 256 octets less its brackets (RFC 5321 §4.5.3.1.3).
	MaxAddressBytes = 254
	// maxInputBytes bounds what is looked at at all: escapes and UTF-8 make the written form longer than the limits above.
	maxInputBytes = 2048
)

// ErrAddress is wrapped by every error about an address.
var ErrAddress = errors.New("bad address")

// Address is a mailbox as SMTP names it, in normal form: two Addresses that were parsed from different spellings of the same bytes
// (quotes, escapes, Unicode composition, A-labels) are equal. Upper and lower case of the local part is kept; see [Address.Canonical].
type Address struct {
	// Local is the local part in Unicode NFC, without quotes and escapes. It may hold any printable character and spaces.
	Local string
	// Domain is in lower case, NFC, with U-labels in place of A-labels; or an address literal, "[192.0.2.1]" or "[IPv6:2001:db8::1]".
	// It is empty in the null path and in "postmaster" without a domain (RFC 5321 §4.5.1) only.
	Domain string
}

// ParseAddress reads a Mailbox (RFC 5321 §4.1.2, with the extensions of RFC 6531 §3.3): local@domain and nothing else around it.
// Errors wrap [ErrAddress].
func ParseAddress(s string) (Address, error) {
	a, err := parseAddress(s)
	if err != nil {
		return Address{}, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return a, nil
}

func parseAddress(s string) (Address, error) {
	if err := checkText(s); err != nil {
		return Address{}, err
	}
	local, rest, err := cutLocal(s)
	if err != nil {
		return Address{}, err
	}
	domain, ok := strings.CutPrefix(rest, "@")
	if !ok || domain == "" {
		return Address{}, errors.New("no domain after the local part")
	}
	a := Address{Local: norm.NFC.String(local)}
	// Lower case can be longer than upper case, and what is canonical must itself be an address.
	if n := max(len(a.Local), len(foldLocal(a.Local))); n > MaxLocalBytes {
		return Address{}, fmt.Errorf("local part of %d bytes, the most is %d", n, MaxLocalBytes)
	}
	if a.Domain, err = parseDomain(domain); err != nil {
		return Address{}, err
	}
	ascii, err := ASCIIDomain(a.Domain)
	if err != nil {
		return Address{}, err
	}
	folded := Address{Local: foldLocal(a.Local), Domain: a.Domain}
	if n := max(len(a.localText()), len(folded.localText())) + 1 + len(ascii); n > MaxAddressBytes {
		return Address{}, fmt.Errorf("address of %d bytes, the most is %d", n, MaxAddressBytes)
	}
	return a, nil
}

// checkText refuses what may stand nowhere in an address: bytes that are no UTF-8, line ends and other control characters (they would
// split a command or a header field), and characters that make a text display in another order than it is stored.
func checkText(s string) error {
	if len(s) > maxInputBytes {
		return fmt.Errorf("%d bytes, far too long", len(s))
	}
	if !utf8.ValidString(s) {
		return errors.New("not valid UTF-8")
	}
	for _, r := range s {
		switch {
		case unicode.IsControl(r), unicode.In(r, unicode.Zl, unicode.Zp):
			return fmt.Errorf("control character %U", r)
		case r != ' ' && unicode.Is(unicode.Zs, r):
			return fmt.Errorf("space character %U", r)
		case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f:
			return fmt.Errorf("character %U, which changes the direction of text", r)
		case r == utf8.RuneError:
			return errors.New("the replacement character: the address was damaged on its way")
		}
	}
	return nil
}

// cutLocal splits off the local part and takes its quotes and escapes away.
func cutLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return cutQuoted(s)
	}
	end := 0
	for end < len(s) && (s[end] == '.' || isAtext(s[end])) {
		end++
	}
	local, rest = s[:end], s[end:]
	switch {
	case local == "":
		return "", "", errors.New("no local part")
	case rest != "" && rest[0] != '@':
		r, _ := utf8.DecodeRuneInString(rest)
		return "", "", fmt.Errorf("%q in the local part, which needs quotes", r)
	case local[0] == '.', local[end-1] == '.', strings.Contains(local, ".."):
		return "", "", errors.New("a dot at the start or end of the local part, or two in a row, which needs quotes")
	}
	return local, rest, nil
}

// cutQuoted reads a Quoted-string (RFC 5321 §4.1.2). checkText has refused control characters already.
func cutQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			i++
			if i == len(s) || s[i] >= utf8.RuneSelf {
				return "", "", errors.New("a backslash before something that it cannot escape")
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("no closing quote")
}

// isAtext: RFC 5321 §4.1.2 Atom, and any UTF-8 (RFC 6531 §3.3).
func isAtext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= utf8.RuneSelf || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// IsNull tells whether a is the null reverse path, <>.
func (a Address) IsNull() bool { return a == Address{} }

// String is the address as ParseAddress reads it, with quotes where they are needed and U-labels in the domain: for SMTPUTF8, for logs
// and for people. The null path is "".
func (a Address) String() string {
	if a.Domain == "" {
		return a.localText()
	}
	return a.localText() + "@" + a.Domain
}

// Wire is the address for a session or a header field: as String when utf8 is allowed there, else with A-labels in the domain. A local
// part that is not ASCII stays so: see [Address.NeedsUTF8].
func (a Address) Wire(utf8 bool) string {
	ascii, err := ASCIIDomain(a.Domain)
	if utf8 || a.Domain == "" || err != nil {
		return a.String()
	}
	return a.localText() + "@" + ascii
}

// NeedsUTF8 tells whether the address cannot be carried without SMTPUTF8 (RFC 6531 §3.2): its local part is not ASCII. A domain is never
// the reason, since it has an ASCII form.
func (a Address) NeedsUTF8() bool { return !isASCII(a.Local) }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// localText is the local part with quotes if it needs them.
func (a Address) localText() string {
	if a.IsNull() {
		return ""
	}
	if local, rest, err := cutLocal(a.Local); err == nil && rest == "" && local == a.Local && a.Local[0] != '"' {
		return a.Local
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(a.Local) + `"`
}

// Canonical is the form under which addresses of our own domains are stored and looked up: String with the local part in lower case and
// NFC. (RFC 5321 §2.4 leaves it to the receiving host whether case matters; to people it never does.)
func (a Address) Canonical() string {
	a.Local = foldLocal(a.Local)
	return a.String()
}

// foldLocal lowers and composes until nothing changes any more: composing may make an upper case letter, lowering a composable pair.
func foldLocal(s string) string {
	for range 4 {
		next := norm.NFC.String(strings.ToLower(s))
		if next == s {
			break
		}
		s = next
	}
	return s
}

// SplitDetail splits user+detail@domain at the first separator (RFC 5233 §3's "subaddress"). It returns the address without the detail,
// the detail, and whether there was a separator after at least one character. An empty separator never matches.
func (a Address) SplitDetail(separator string) (base Address, detail string, ok bool) {
	if separator == "" {
		return a, "", false
	}
	i := strings.Index(a.Local, separator)
	if i <= 0 {
		return a, "", false
	}
	return Address{Local: a.Local[:i], Domain: a.Domain}, a.Local[i+len(separator):], true
}

// IP is the host of an address literal, false for a domain name.
func (a Address) IP() (netip.Addr, bool) {
	inner, ok := strings.CutPrefix(a.Domain, "[")
	if !ok {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(strings.TrimPrefix(strings.TrimSuffix(inner, "]"), "IPv6:"))
	return ip, err == nil
}
