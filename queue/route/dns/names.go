package dns

import (
	"errors"
	"strings"

	miekg "github.com/miekg/dns"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// fqdn is a name as servers are asked for it: A-labels, lower case, a final dot, and special bytes escaped as the dns package escapes them,
// so that equal names are equal strings. ASCII names may hold any byte: SPF makes names out of local parts (RFC 7208 §7).
func fqdn(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return "", errors.New("an empty name")
	}
	if !isASCII(name) {
		ascii, err := smtp.ASCIIDomain(name)
		if err != nil {
			return "", err
		}
		name = ascii
	}
	var wire [256]byte // RFC 1035 §2.3.4: 255 at most
	end, err := miekg.PackDomainName(strings.ReplaceAll(name, `\`, `\\`)+".", wire[:], 0, nil, false)
	if err != nil {
		return "", err
	}
	full, _, err := miekg.UnpackDomainName(wire[:end], 0)
	return canonical(full), err
}

// canonical is a name out of a message, in the form that [fqdn] gives.
func canonical(name string) string { return strings.ToLower(name) }

// plain is a name as [Answer] has it.
func plain(full string) string { return strings.TrimSuffix(full, ".") }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// unescape undoes what the dns package does to the strings of a TXT record: \DDD and \c.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]) {
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + (s[i+3] - '0'))
			i += 3
			continue
		}
		i++
		b.WriteByte(s[i])
	}
	return b.String()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
