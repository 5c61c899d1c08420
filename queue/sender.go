package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/queue/remote"
	"github.com/quorumail/quorumail/queue/route"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Mail is the Sender of the Internet: it finds where a domain's mail goes, and hands it over by SMTP.
type Mail struct {
	Router *route.Router
	Client *remote.Client
	// Sign returns fields to put above a message in the form that open reads, such as DKIM signatures; nil: none. An error defers the message.
	Sign func(ctx context.Context, m *Message, open func() (io.ReadCloser, error)) ([]byte, error)
	// Protect adds to a host what its domain says of TLS (MTA-STS, DANE); nil: nothing. An error defers the message.
	Protect func(ctx context.Context, p route.Plan, r *remote.Route) error
}

// Destination implements Sender: a smarthost for all domains that are routed through it, else a domain.
func (s *Mail) Destination(domain string) string { return s.Router.Destination(domain) }

// Send implements Sender. The recipients are grouped by where the routes lead them now, which may have changed since they were chosen.
func (s *Mail) Send(ctx context.Context, m *Message, entries []*storepb.QueueEntry) []Outcome {
	return inGroups(entries, func(e *storepb.QueueEntry) string { return s.Destination(domainOf(e.Address)) },
		func(destination string, group []*storepb.QueueEntry) []Outcome {
			return s.sendOn(ctx, m, destination, group)
		})
}

// sendOn hands a message on to one destination.
func (s *Mail) sendOn(ctx context.Context, m *Message, destination string, entries []*storepb.QueueEntry) []Outcome {
	plan, err := s.Router.Hosts(ctx, domainOf(entries[0].Address))
	switch {
	case plan.Key != destination: // what is true of this domain now need not be of the others
		return all(entries, Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.3.0", Reason: "the route changed during the attempt"})
	case err != nil:
		return all(entries, routeOutcome(err))
	case plan.Kind == route.Discard:
		return all(entries, Outcome{Result: store.AttemptDiscarded, Code: 250, Status: "2.0.0", Reason: "discarded: the route of its domain says so"})
	}
	// To whom a message came by the same address of this site gets its name on top, so that a loop is seen.
	return inGroups(entries, passedBy, func(passed string, group []*storepb.QueueEntry) []Outcome { return s.hand(ctx, plan, m, passed, group) })
}

// routeOutcome: a router's errors say whether they last.
func routeOutcome(err error) Outcome {
	var e *route.Error
	if !errors.As(err, &e) {
		return Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.4.3", Reason: err.Error(), HostDown: true}
	}
	result := store.AttemptDeferred
	if e.Permanent {
		result = store.AttemptFailed
	}
	return Outcome{Result: result, Code: uint32(e.Code), Status: e.Enhanced, Reason: e.Text, HostDown: !e.Permanent}
}

// inGroups does something for the entries that have a name in common, name after name, and puts the outcomes into the order of the entries.
func inGroups(entries []*storepb.QueueEntry, name func(*storepb.QueueEntry) string, do func(string, []*storepb.QueueEntry) []Outcome) []Outcome {
	var names []string
	at := map[string][]int{}
	for i, e := range entries {
		n := name(e)
		if at[n] == nil {
			names = append(names, n)
		}
		at[n] = append(at[n], i)
	}
	out := make([]Outcome, len(entries))
	for _, n := range names {
		var group []*storepb.QueueEntry
		for _, i := range at[n] {
			group = append(group, entries[i])
		}
		for k, o := range do(n, group) {
			out[at[n][k]] = o
		}
	}
	return out
}

// passedBy is the address of this site that passes the mail on to an entry's recipient; "" when he was named himself, as an entry says, too, whose
// message rested in the queue "in". His own address in Delivered-To would make his server take the message for one that goes round.
func passedBy(e *storepb.QueueEntry) string {
	if e.Original == e.Address {
		return ""
	}
	return e.Original
}

// hand sends a message to recipients to whom the same address of this site passes it on.
func (s *Mail) hand(ctx context.Context, plan route.Plan, m *Message, passed string, entries []*storepb.QueueEntry) []Outcome {
	msg, err := s.compose(m, passed)
	if err != nil {
		return all(entries, Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.3.0", Reason: "local trouble: " + err.Error()})
	}
	to, err := s.secured(ctx, plan, m)
	if err != nil {
		return all(entries, Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.7.5", Reason: err.Error()})
	}
	out := make([]Outcome, len(entries))
	var rcpts []remote.Recipient
	var at []int // their places
	for i, e := range entries {
		a, err := smtp.ParseAddress(e.Address)
		if err != nil {
			out[i] = Outcome{Result: store.AttemptFailed, Code: 553, Status: "5.1.3", Reason: "the address cannot be read: " + err.Error()}
			continue
		}
		rcpts, at = append(rcpts, remote.Recipient{Address: a, ORCPT: orcpt(e), Notify: remote.Notify(e.Notify)}), append(at, i)
	}
	for k, r := range s.Client.Deliver(ctx, to, msg, rcpts) {
		out[at[k]] = outcomeOf(r)
	}
	return out
}

// compose is the message as it leaves.
func (s *Mail) compose(m *Message, original string) (remote.Message, error) {
	var from smtp.Address
	if m.EnvelopeFrom != "" {
		var err error
		if from, err = smtp.ParseAddress(m.EnvelopeFrom); err != nil {
			return remote.Message{}, fmt.Errorf("read the sender: %w", err)
		}
	}
	e := m.GetEnvelope()
	msg := remote.Message{ID: m.QueueId, From: from, UTF8: e.GetUtf8(), RequireTLS: e.GetRequireTls(), Ret: e.GetRet(), EnvID: xtext(e.GetEnvid()), Open: m.Open}
	if s.Sign != nil {
		msg.Sign = func(ctx context.Context, open func() (io.ReadCloser, error)) ([]byte, error) {
			return s.Sign(ctx, m, open)
		}
	}
	if original != "" {
		msg.Prefix = []byte("Delivered-To: " + original + "\r\n")
	}
	return msg, nil
}

func routeOf(p route.Plan) remote.Route {
	r := remote.Route{Smarthost: p.Kind == route.Smarthost, MXDomain: p.MXDomain, TLS: tlsPolicies[p.TLS], Username: p.Username, Password: string(p.Password)}
	if r.Smarthost {
		r.Key = p.Key
	} // else: a mail exchanger serves many domains, and one connection to it does for all
	for _, h := range p.Hosts {
		r.Hosts = append(r.Hosts, remote.Host{Name: h.Name, Addrs: h.Addrs, Authentic: h.Authentic || r.Smarthost})
	}
	return r
}

var tlsPolicies = map[route.TLS]remote.TLSPolicy{route.TLSNone: remote.TLSNone, route.TLSMay: remote.TLSMay, route.TLSEncrypt: remote.TLSEncrypt,
	route.TLSVerify: remote.TLSVerify, route.TLSImplicit: remote.TLSImplicit}

func outcomeOf(r remote.Result) Outcome {
	o := Outcome{Code: uint32(max(0, r.Code)), Status: r.Enhanced, Reason: r.Text, Peer: r.Host, TLS: r.TLS, Relayed: r.DSNRelayed, HostDown: r.Unreachable}
	if r.Verified {
		o.TLS += ", verified"
	}
	if r.Local {
		o.Code = 0 // the peer's answers alone have codes, or our words would be told as its own
	}
	if r.Addr.IsValid() {
		o.Reached = !r.Unreachable
		o.Peer = fmt.Sprintf("%s [%s]", r.Host, r.Addr.Addr())
	}
	switch r.Status {
	case remote.Delivered:
		o.Result = store.AttemptDelivered
	case remote.Failed:
		o.Result = store.AttemptFailed
	default:
		o.Result = store.AttemptDeferred
	}
	return o
}

func all(entries []*storepb.QueueEntry, o Outcome) []Outcome {
	out := make([]Outcome, len(entries))
	for i := range out {
		out[i] = o
	}
	return out
}

// typedAddress is an address with its type (RFC 3461 §4.2): utf-8 where rfc822 cannot have it (RFC 6533 §3).
func typedAddress(address string) string {
	a, err := smtp.ParseAddress(address)
	switch {
	case err != nil:
		return ""
	case a.NeedsUTF8():
		return "utf-8;" + a.Wire(true)
	}
	return "rfc822;" + a.Wire(false)
}

// orcpt is the parameter as RCPT carries it: what the sender said, or, where this site passed the mail on, the address that it was sent to
// (RFC 3461 §5.2.3.1).
func orcpt(e *storepb.QueueEntry) string {
	o := e.Orcpt
	if passed := passedBy(e); o == "" && passed != "" {
		o = typedAddress(passed)
	}
	kind, address, ok := strings.Cut(o, ";")
	if !ok || strings.EqualFold(kind, "utf-8") {
		return o
	}
	return kind + ";" + xtext(address)
}

// xtext is a text as a parameter of SMTP carries it (RFC 3461 §4).
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
