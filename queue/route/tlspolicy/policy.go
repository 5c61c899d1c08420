package tlspolicy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// STSPolicy is what a domain says of the TLS of its mail exchangers (RFC 8461 §3.2).
type STSPolicy struct {
	Mode   STSMode
	MX     []string      // names and patterns such as "*.example.org", in lower-case A-labels
	MaxAge time.Duration // how long it holds after it was fetched
}

// STSMode says what happens with hosts that do not keep to a policy (RFC 8461 §5).
type STSMode string

const (
	STSNone    STSMode = "none"    // there is no policy
	STSTesting STSMode = "testing" // mail goes to them, and the trouble may be reported
	STSEnforce STSMode = "enforce" // no mail goes to them
)

const (
	stsVersion = "STSv1"
	// maxSTSSeconds bounds max_age: a year (RFC 8461 §3.2).
	maxSTSSeconds = 31557600
)

// Match says whether a host may be a mail exchanger of the domain. RFC 8461 §4.1: a star stands for exactly one label.
func (p STSPolicy) Match(host string) bool {
	host, err := asciiDomain(strings.TrimSuffix(host, "."))
	if err != nil || isLiteral(host) {
		return false
	}
	_, above, _ := strings.Cut(host, ".")
	return slices.Contains(p.MX, host) || slices.Contains(p.MX, "*."+above)
}

// STSRecord reads the TXT records of _mta-sts. in front of a domain: the ID of its policy, or that it has none (RFC 8461 §3.1).
func STSRecord(texts []string) (id string, ok bool) {
	const begin = "v=" + stsVersion + ";"
	texts = slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return !strings.HasPrefix(s, begin) })
	if len(texts) != 1 {
		return "", false
	}
	for field := range strings.SplitSeq(strings.TrimPrefix(texts[0], begin), ";") {
		name, value, found := strings.Cut(strings.Trim(field, " \t"), "=")
		switch {
		case name == "" && !found: // after the last semicolon
		case !found, !isSTSName(name), value == "":
			return "", false
		case name == "id" && id == "": // of several, the first counts
			id = value
		}
	}
	return id, isSTSID(id)
}

func isSTSID(s string) bool { return s != "" && len(s) <= 32 && isAlphanumeric(s, "") }

// isSTSName is for names of fields in records and policies.
func isSTSName(s string) bool {
	return s != "" && len(s) <= 32 && isAlphanumeric(s[:1], "") && isAlphanumeric(s, "_-.")
}

func isAlphanumeric(s, more string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}

// ParseSTSPolicy reads a policy file (RFC 8461 §3.2). Fields that nobody knows are left out, and of those that come again, the first counts.
func ParseSTSPolicy(raw []byte) (STSPolicy, error) {
	fields, err := stsFields(string(raw))
	if err != nil {
		return STSPolicy{}, err
	}
	if v := first(fields["version"]); v != stsVersion {
		return STSPolicy{}, fmt.Errorf("version %q", v)
	}
	p := STSPolicy{Mode: STSMode(first(fields["mode"]))}
	if p.MX, err = stsPatterns(fields["mx"]); err != nil {
		return STSPolicy{}, err
	}
	if p.MaxAge, err = stsAge(first(fields["max_age"])); err != nil {
		return STSPolicy{}, err
	}
	switch {
	case !slices.Contains([]STSMode{STSNone, STSTesting, STSEnforce}, p.Mode):
		return STSPolicy{}, fmt.Errorf("mode %q", string(p.Mode))
	case len(p.MX) == 0 && p.Mode != STSNone:
		return STSPolicy{}, errors.New("no mail exchangers")
	}
	return p, nil
}

// stsFields takes lines apart that end in LF or CRLF.
func stsFields(raw string) (map[string][]string, error) {
	fields := map[string][]string{}
	for line := range strings.SplitSeq(raw, "\n") {
		line = strings.TrimRight(line, " \t\r")
		if line == "" {
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if !found || !isSTSName(name) {
			return nil, fmt.Errorf("line %q", line)
		}
		fields[name] = append(fields[name], strings.TrimLeft(value, " \t"))
	}
	return fields, nil
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func stsPatterns(list []string) ([]string, error) {
	var patterns []string
	for _, s := range list {
		name, wild := strings.CutPrefix(strings.TrimSuffix(s, "."), "*.")
		name, err := asciiDomain(name)
		if err != nil || isLiteral(name) {
			return nil, fmt.Errorf("mx %q", s)
		}
		if wild {
			name = "*." + name
		}
		patterns = append(patterns, name)
	}
	return patterns, nil
}

func stsAge(s string) (time.Duration, error) {
	seconds, err := strconv.ParseUint(s, 10, 64)
	if err != nil || len(s) > 10 {
		return 0, fmt.Errorf("max_age %q", s)
	}
	return time.Duration(min(seconds, maxSTSSeconds)) * time.Second, nil
}

// asciiDomain brings a domain or an address literal into the one form that we compare and ask for.
func asciiDomain(s string) (string, error) {
	domain, err := smtp.ParseDomain(s)
	if err != nil {
		return "", err
	}
	return smtp.ASCIIDomain(domain)
}

func isLiteral(domain string) bool { return strings.HasPrefix(domain, "[") }
