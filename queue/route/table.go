package route

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// Table says which domains' mail goes another way than the DNS tells. It never changes; the zero value sends all mail where the DNS says.
type Table struct {
	rules map[string]Rule // by pattern, normal
}

// Kind is what happens with the mail for a domain.
type Kind string

const (
	ByMX      Kind = "mx"        // it goes where the DNS says (RFC 5321 §5.1)
	Smarthost Kind = "smarthost" // it goes to hosts that pass it on
	Discard   Kind = "discard"   // it counts as delivered, and is gone
	Reject    Kind = "reject"    // it goes back
)

// TLS is how far a connection must be protected.
type TLS string

const (
	TLSNone     TLS = "none"     // never
	TLSMay      TLS = "may"      // when it is offered, whoever offers it
	TLSEncrypt  TLS = "encrypt"  // always, whoever is there
	TLSVerify   TLS = "verify"   // always, and the certificate must be good for the host
	TLSImplicit TLS = "implicit" // as TLSVerify, from the first byte (RFC 8314)
)

// Rule is the way of the mail for some domains.
type Rule struct {
	Domain string // "example.org"; "*.example.org", all domains below it, but not itself; "*", all; "[192.0.2.1]"
	Kind   Kind   // default ByMX
	TLS    TLS    // default TLSMay, and TLSVerify with a Username

	// For Smarthost.
	Host     string // names or addresses, separated by commas, to be tried in this order
	Port     uint16 // default 25; 587 with a Username; 465 with TLSImplicit
	Username string // "": no authentication
	Password Secret

	Text string // for Reject: the reply, "550 5.7.1 Not here" or without the codes
}

// Secret is a string that shows itself only to who converts it.
type Secret string

const hidden = "[hidden]"

// Format implements fmt.Formatter, for every verb.
func (s Secret) Format(f fmt.State, _ rune) {
	if s != "" {
		_, _ = f.Write([]byte(hidden)) // an error of the output is its own affair
	}
}

// MarshalText implements encoding.TextMarshaler, for logs in JSON.
func (s Secret) MarshalText() ([]byte, error) { return fmt.Append(nil, s), nil }

// NewTable makes a table. Errors name the rule.
func NewTable(rules []Rule) (Table, error) {
	t := Table{rules: map[string]Rule{}}
	for _, r := range rules {
		normal, err := r.normal()
		if err != nil {
			return Table{}, fmt.Errorf("route for %q: %w", r.Domain, err)
		}
		if _, ok := t.rules[normal.Domain]; ok {
			return Table{}, fmt.Errorf("route for %q: there are two", r.Domain)
		}
		t.rules[normal.Domain] = normal
	}
	return t, nil
}

// Decide finds the rule with the longest pattern that fits a domain. A domain that is none gets the rule for all.
func (t Table) Decide(domain string) Rule {
	domain, err := asciiDomain(domain)
	if rule, ok := t.rules[domain]; err == nil && ok {
		return rule
	}
	for err == nil && !isLiteral(domain) {
		_, above, more := strings.Cut(domain, ".")
		if !more {
			break
		}
		if rule, ok := t.rules["*."+above]; ok {
			return rule
		}
		domain = above
	}
	if rule, ok := t.rules["*"]; ok {
		return rule
	}
	return Rule{Domain: "*", Kind: ByMX, TLS: TLSMay}
}

// normal checks a rule and fills in what it leaves to the defaults.
func (r Rule) normal() (Rule, error) {
	var err error
	if r.Domain, err = normalPattern(r.Domain); err != nil {
		return Rule{}, err
	}
	orElse(&r.Kind, ByMX)
	switch r.Kind {
	case ByMX, Discard:
	case Reject:
		_, err = r.reply()
	case Smarthost:
		r, err = r.normalSmarthost()
	default:
		err = fmt.Errorf("kind %q", string(r.Kind))
	}
	orElse(&r.TLS, TLSMay)
	switch {
	case err != nil:
		return Rule{}, err
	case !slices.Contains([]TLS{TLSNone, TLSMay, TLSEncrypt, TLSVerify, TLSImplicit}, r.TLS):
		return Rule{}, fmt.Errorf("TLS %q", string(r.TLS))
	case r.Kind != Smarthost && (r.Host != "" || r.Port != 0 || r.Username != "" || r.TLS == TLSImplicit):
		return Rule{}, errors.New("host, port, login and TLS from the first byte are for a smarthost")
	}
	return r, nil
}

func (r Rule) normalSmarthost() (Rule, error) {
	hosts, err := r.hosts()
	if err != nil {
		return Rule{}, err
	}
	var names []string
	for _, h := range hosts {
		names = append(names, h.name)
	}
	r.Host = strings.Join(names, ",")
	if r.Username != "" {
		orElse(&r.TLS, TLSVerify)
	}
	switch {
	case r.TLS == TLSImplicit:
		orElse(&r.Port, 465)
	case r.Username != "":
		orElse(&r.Port, 587)
	}
	orElse(&r.Port, 25)
	if r.Username != "" && (r.TLS == TLSNone || r.TLS == TLSMay) {
		return Rule{}, errors.New("a password would travel without TLS") // RFC 4954 §9
	}
	return r, nil
}

// hosts reads the list of a smarthost.
func (r Rule) hosts() ([]candidate, error) {
	var list []candidate
	for i, s := range strings.Split(r.Host, ",") {
		s = strings.TrimSpace(s)
		addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
		if err == nil {
			list = append(list, candidate{name: addr.String(), addr: addr.Unmap(), preference: uint16(i)}) // maxSmarthosts is less than 2¹⁶
		} else if s, err = asciiDomain(s); err == nil && !isLiteral(s) {
			list = append(list, candidate{name: s, preference: uint16(i)})
		} else {
			return nil, fmt.Errorf("host %q of %q", s, r.Host)
		}
	}
	if len(list) > maxSmarthosts {
		return nil, fmt.Errorf("%d hosts, the most is %d", len(list), maxSmarthosts)
	}
	return list, nil
}

// maxSmarthosts bounds a rule's list.
const maxSmarthosts = 16

var replyPattern = regexp.MustCompile(`^(?:([45])([0-9]{2}) ([45])(\.[0-9]{1,3}\.[0-9]{1,3}) )?([ -~]*)$`)

// reply is the answer of a Reject rule. RFC 3463 §3.8, X.7.1: delivery not authorized.
func (r Rule) reply() (*Error, error) {
	m := replyPattern.FindStringSubmatch(r.Text)
	if m == nil || len(r.Text) > 400 || m[1] != m[3] {
		return nil, fmt.Errorf("text %q, expected a line of ASCII, with codes that agree or none", r.Text)
	}
	text := m[5]
	orElse(&text, "Mail for this domain is not accepted")
	if m[1] == "" {
		return permanent(550, "5.7.1", "%s", text), nil
	}
	code, err := strconv.Atoi(m[1] + m[2])
	return &Error{Code: code, Enhanced: m[3] + m[4], Text: text, Permanent: m[1] == "5"}, err
}

func normalPattern(s string) (string, error) {
	if s == "*" {
		return s, nil
	}
	domain, wild := strings.CutPrefix(s, "*.")
	domain, err := asciiDomain(domain)
	switch {
	case err != nil:
		return "", err
	case !wild:
		return domain, nil
	case isLiteral(domain):
		return "", errors.New("nothing is below an address")
	}
	return "*." + domain, nil
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

func orElse[T comparable](value *T, otherwise T) {
	var none T
	if *value == none {
		*value = otherwise
	}
}
