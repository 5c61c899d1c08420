package smtp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// profile maps as RFC 5895 and UTS 46 do for look-ups (lower case, width, NFC), and checks labels. It is told to let all of ASCII pass,
// because it would refuse underscores; checkASCIIDomain has the rule.
var profile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.StrictDomainName(false))

// ParseDomain brings a domain name or an address literal into the form that [Address.Domain] has. Errors wrap [ErrAddress].
func ParseDomain(s string) (string, error) {
	if err := checkText(s); err != nil {
		return "", fmt.Errorf("%w: %w", ErrAddress, err)
	}
	d, err := parseDomain(s)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return d, nil
}

func parseDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	ascii, err := toASCII(s)
	if err != nil {
		return "", err
	}
	display, err := profile.ToUnicode(ascii)
	if err != nil {
		return "", fmt.Errorf("domain %q: %w", s, err)
	}
	display = norm.NFC.String(display)
	// The U-form must lead back to the same name, or one domain could have two accounts' tables.
	if again, err := toASCII(display); err != nil || again != ascii {
		return ascii, nil
	}
	return display, nil
}

// ASCIIDomain is the form of a parsed domain for the DNS and for sessions without SMTPUTF8: A-labels. Address literals stay as they are.
// Errors wrap [ErrAddress].
func ASCIIDomain(domain string) (string, error) {
	if strings.HasPrefix(domain, "[") {
		return domain, nil
	}
	ascii, err := toASCII(domain)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return ascii, nil
}

func toASCII(s string) (string, error) {
	ascii, err := profile.ToASCII(s)
	if err != nil {
		return "", fmt.Errorf("domain %q: %w", s, err)
	}
	if err := checkASCIIDomain(ascii); err != nil {
		return "", fmt.Errorf("domain %q: %w", s, err)
	}
	return ascii, nil
}

// checkASCIIDomain: RFC 5321 §4.1.2 Domain, and underscores, which the grammar lacks and the world's host names have.
func checkASCIIDomain(s string) error {
	if len(s) > MaxDomainBytes {
		return fmt.Errorf("%d bytes, the most is %d", len(s), MaxDomainBytes)
	}
	for label := range strings.SplitSeq(s, ".") {
		switch {
		case label == "":
			return errors.New("an empty label")
		case len(label) > 63: // RFC 1035 §2.3.4
			return errors.New("a label of more than 63 bytes")
		case label[0] == '-', label[len(label)-1] == '-':
			return errors.New("a label that starts or ends with a hyphen")
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return fmt.Errorf("character %q", c)
			}
		}
	}
	return nil
}

// parseLiteral: RFC 5321 §4.1.3. No tag but IPv6 was ever registered.
func parseLiteral(s string) (string, error) {
	inner, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return "", errors.New("an address literal without a closing bracket")
	}
	const tag = "IPv6:"
	six := len(inner) > len(tag) && strings.EqualFold(inner[:len(tag)], tag)
	if six {
		inner = inner[len(tag):]
	}
	ip, err := netip.ParseAddr(inner)
	switch {
	case err != nil, ip.Zone() != "", ip.Is4() == six:
		return "", fmt.Errorf("address literal %q, expected [192.0.2.1] or [IPv6:2001:db8::1]", s)
	case six:
		return "[" + tag + ip.String() + "]", nil
	}
	return "[" + ip.String() + "]", nil
}
