package directory

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/queue/route"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// RouteSpec says which way the mail for a domain shall go (route.Rule has the meaning of the fields).
type RouteSpec struct {
	Domain   string // "example.org"; "*.example.org", all below it; "*", all
	Kind     string // mx, smarthost, discard, reject
	Hosts    string // of a smarthost: "mail.isp.test", "mail.isp.test:587", or several, tried in this order: "a.isp.test,b.isp.test:587"
	TLS      string // none, may, encrypt, verify, implicit; "": package queue/route's default
	User     string // of a smarthost that wants a login
	Password string // its password
	Text     string // of reject: what senders read, one line of ASCII
}

// SealName is the name under which the password of a domain's route is sealed (Config.Seal).
func SealName(domain string) string { return "route/" + domain }

// RouteTable makes the records of routes what finds the way of mail. open opens a password that was sealed under a name. A route whose password
// cannot be opened keeps its place, without a password, for its mail must not go another way: unopened are the domains of these. Errors name the
// route.
func RouteTable(records []*storepb.DomainRoute, open func(name string, sealed []byte) ([]byte, error)) (t route.Table, unopened []string, err error) {
	var rules []route.Rule
	for _, r := range records {
		rule, err := routeRule(r.Domain, r.Kind, r.Hosts, r.Tls, r.Username, r.Text)
		if err != nil {
			return t, nil, fmt.Errorf("route for %s: %w", r.Domain, err)
		}
		if len(r.Password) > 0 {
			password, err := open(SealName(r.Domain), r.Password)
			if err != nil {
				unopened = append(unopened, r.Domain)
			}
			rule.Password = route.Secret(password)
		}
		rules = append(rules, rule)
	}
	t, err = route.NewTable(rules)
	return t, unopened, err
}

// routeRule is a route as queue/route reads it. A port stands behind the last host and holds for all.
func routeRule(domain, kind, hosts, tls, user, text string) (route.Rule, error) {
	rule := route.Rule{Domain: domain, Kind: route.Kind(kind), TLS: route.TLS(tls), Host: hosts, Username: user, Text: text}
	if m := portBehind.FindStringSubmatch(hosts); m != nil {
		port, err := strconv.ParseUint(m[2], 10, 16)
		if err != nil || port == 0 {
			return rule, fmt.Errorf("port %q: write a number from 1 to 65535", m[2])
		}
		rule.Host, rule.Port = m[1], uint16(port)
	}
	return rule, nil
}

// portBehind tells a port from the end of an IPv6 address, which stands in brackets when a port follows.
var portBehind = regexp.MustCompile(`^(.*(?:\]|[^\]:,][^\]:]*)):([0-9]+)$`)

// replyCodes are what the text of a refusal must not begin with: the codes of the reply are this system's.
var replyCodes = regexp.MustCompile(`^[245][0-9]{2}[ -]|^[245]\.[0-9]`)

// SetRoute makes a domain's route, in place of one that it has. store.ErrInvalid with queue/route's reason.
func (d *Directory) SetRoute(ctx context.Context, spec RouteSpec, who string) error {
	record := &storepb.DomainRoute{Domain: spec.Domain, Kind: spec.Kind, Hosts: strings.TrimSpace(spec.Hosts), Tls: spec.TLS, Username: spec.User, Text: spec.Text}
	var err error
	if record.Domain, err = routeDomain(spec.Domain); err != nil {
		return err
	}
	if err := checkRoute(record, spec.Password); err != nil {
		return fmt.Errorf("%w: %w", err, store.ErrInvalid)
	}
	if err := d.foreign(ctx, record.Domain); err != nil {
		return err
	}
	if spec.Password != "" {
		if record.Password, err = d.seal(SealName(record.Domain), spec.Password); err != nil {
			return err
		}
	}
	_, err = d.propose(ctx, "put route for "+record.Domain, func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_PutRoute{PutRoute: &storepb.PutRoute{Route: record, Who: who}}
	})
	return err
}

// checkRoute asks queue/route whether it can read the route.
func checkRoute(r *storepb.DomainRoute, password string) error {
	rule, err := routeRule(r.Domain, r.Kind, r.Hosts, r.Tls, r.Username, r.Text)
	switch {
	case err != nil:
		return err
	case (r.Username == "") != (password == ""):
		return errors.New("a login needs both a user and a password")
	case rule.Kind == route.Smarthost && rule.Host == "":
		return errors.New("a smarthost needs a host: mail.isp.test:587")
	case rule.Kind != route.Reject && r.Text != "", rule.Kind == route.Reject && replyCodes.MatchString(r.Text):
		return errors.New("a text is for \"reject\", and has no codes: senders read 550 5.7.1 before it")
	}
	_, err = route.NewTable([]route.Rule{rule})
	return err
}

// foreign refuses a route for a domain of this site: its mail never gets there.
func (d *Directory) foreign(ctx context.Context, domain string) error {
	return d.read(ctx, func(v *state.View) error {
		_, err := v.Domain(domain)
		if err == nil {
			return fmt.Errorf("the domain %s is of this site, and its mail is delivered here: remove it first (quorumail domain remove %s), or leave it: %w", domain, domain, store.ErrConflict)
		}
		return none(err)
	})
}

func (d *Directory) seal(name, password string) ([]byte, error) {
	if d.cfg.Seal == nil {
		return nil, fmt.Errorf("keep a password: this node cannot seal it: %w", store.ErrUnavailable)
	}
	sealed, err := d.cfg.Seal(name, []byte(password))
	if err != nil {
		return nil, fmt.Errorf("seal the password: %w", err)
	}
	return sealed, nil
}

// routeDomain is the one form in which a route's domain is kept.
func routeDomain(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "*" {
		return s, nil
	}
	domain, wild := strings.CutPrefix(s, "*.")
	canonical, err := smtp.ParseDomain(domain)
	if err != nil {
		return "", fmt.Errorf("domain %q: %w: write example.org, *.example.org or \"*\": %w", s, err, store.ErrInvalid)
	}
	if wild {
		canonical = "*." + canonical
	}
	return canonical, nil
}

// RemoveRoute removes a domain's route. store.ErrNotFound.
func (d *Directory) RemoveRoute(ctx context.Context, domain, who string) error {
	domain, err := routeDomain(domain)
	if err != nil {
		return err
	}
	_, err = d.propose(ctx, "remove route for "+domain, func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_RemoveRoute{RemoveRoute: &storepb.RemoveRoute{Domain: domain, Who: who}}
	})
	return err
}

// Routes lists the routes by domain.
func (d *Directory) Routes(ctx context.Context) ([]*storepb.DomainRoute, error) {
	var list []*storepb.DomainRoute
	err := d.read(ctx, func(v *state.View) (err error) {
		list, err = v.Routes()
		return err
	})
	return list, err
}

// RefusedBy is nil unless a table refuses the mail for a domain; else its text is what senders read, without codes.
func RefusedBy(t route.Table, domain string) error {
	rule := t.Decide(domain)
	if rule.Kind != route.Reject {
		return nil
	}
	return &RouteRefused{Text: rule.Text}
}

// RouteRefused: mail for a domain is refused by a route (550 5.7.1, RFC 3463 §3.8).
type RouteRefused struct {
	Text string // the operator's; "": none
}

func (e *RouteRefused) Error() string {
	if e.Text == "" {
		return "Mail for this domain is not accepted"
	}
	return e.Text
}
