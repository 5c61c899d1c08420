package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
)

// udpBytes is the largest answer that we ask for by UDP (RFC 6891 §6.2.5): with its headers it makes 1,280 bytes, which every IPv6 network
// carries in one piece.
const udpBytes = 1232

// exchange asks one server after another until one has an answer: records, or that there are none. Only an answer of a server that is
// configured as validating may be authentic. The error wraps [ErrTemporary].
func (d *Client) exchange(ctx context.Context, q question) (m *miekg.Msg, authentic bool, err error) {
	servers, timeout, attempts := d.ways()
	for range attempts {
		for _, server := range servers {
			validating := slices.Contains(d.validating, server)
			if m, err = d.try(ctx, server, q, validating, timeout); err == nil {
				d.cfg.Metrics.Queries.WithLabelValues("answered").Inc()
				return m, validating && m.AuthenticatedData, nil
			}
			d.cfg.Metrics.Queries.WithLabelValues("failed").Inc()
			d.cfg.Logger.Debug("no answer from a DNS server", "pkg", "dns", "server", server.String(), "question", q.String(), "err", err)
			err = fmt.Errorf("ask %v: %w", server, err)
			if ctx.Err() != nil {
				return nil, false, fmt.Errorf("%w: %w: %w", ErrTemporary, context.Cause(ctx), err)
			}
		}
	}
	return nil, false, fmt.Errorf("%w after %d tries: %w", ErrTemporary, attempts*len(servers), err)
}

// ways is whom to ask, and how insistently. If some servers validate, the others are not asked: a validating one has no answer when somebody
// meddles with it, and who took that of another then would have undone the validation.
func (d *Client) ways() (servers []netip.AddrPort, timeout time.Duration, attempts int) {
	servers, timeout, attempts = d.servers, d.cfg.Timeout, d.cfg.Attempts
	if len(d.validating) > 0 {
		servers = d.validating
	}
	if len(d.servers) == 0 {
		conf := d.resolvConf.get()
		if len(servers) == 0 {
			servers = conf.servers
		}
		orElse(&timeout, conf.timeout)
		orElse(&attempts, conf.attempts)
	}
	if len(servers) == 0 {
		servers = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)} // as resolv.conf(5) says
	}
	orElse(&timeout, defaultTimeout)
	orElse(&attempts, defaultAttempts)
	return servers, timeout, attempts
}

// try asks one server: by UDP, by TCP if the answer did not fit, and without EDNS if it does not know that.
func (d *Client) try(ctx context.Context, server netip.AddrPort, q question, validating bool, timeout time.Duration) (*miekg.Msg, error) {
	query := query(q, validating)
	m, err := d.send(ctx, server, query, timeout)
	if err == nil && m.Rcode == miekg.RcodeFormatError && m.IsEdns0() == nil { // RFC 6891 §7
		query.Extra = nil
		m, err = d.send(ctx, server, query, timeout)
	}
	if err != nil {
		return nil, err
	}
	return m, usable(m, q)
}

func (d *Client) send(ctx context.Context, server netip.AddrPort, query *miekg.Msg, timeout time.Duration) (*miekg.Msg, error) {
	m, err := d.sendBy(ctx, server, query, timeout, false)
	if err == nil && m.Truncated {
		return d.sendBy(ctx, server, query, timeout, true) // RFC 7766 §5
	}
	return m, err
}

func (d *Client) sendBy(ctx context.Context, server netip.AddrPort, query *miekg.Msg, timeout time.Duration, tcp bool) (*miekg.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	query.Id = miekg.Id()
	return d.cfg.Transport.Exchange(ctx, server, query, tcp)
}

func query(q question, validating bool) *miekg.Msg {
	m := new(miekg.Msg)
	m.SetQuestion(q.name, q.kind)
	m.SetEdns0(udpBytes, false)
	m.AuthenticatedData = validating // RFC 6840 §5.7: this asks for the AD bit without the signatures
	return m
}

// usable refuses answers that say no more than that this server has none.
func usable(m *miekg.Msg, q question) error {
	switch {
	case m.Rcode != miekg.RcodeSuccess && m.Rcode != miekg.RcodeNameError:
		return fmt.Errorf("the server says %s", rcode(m.Rcode))
	case m.Truncated:
		return errors.New("truncated, though asked by TCP")
	case m.Rcode == miekg.RcodeNameError && mute(m), m.Rcode == miekg.RcodeSuccess && len(m.Answer) == 0 && lame(m):
		return fmt.Errorf("the server does not know about %s", plain(q.name))
	}
	return nil
}

// lame: a server that neither owns the name nor asks on, or one that refers to others, says nothing about the name (RFC 2308 §2.2).
func lame(m *miekg.Msg) bool { return mute(m) || !hasSOA(m) && has(m.Ns, miekg.TypeNS) }

// mute: a server that neither owns the name nor asks on cannot know that it does not exist.
func mute(m *miekg.Msg) bool { return !m.Authoritative && !m.RecursionAvailable }

func rcode(code int) string {
	if name := miekg.RcodeToString[code]; name != "" {
		return name
	}
	return fmt.Sprintf("code %d", code)
}

// wire is the [Transport] of the Internet. Each question has a socket of its own, so that its port is as hard to guess as its ID
// (RFC 5452 §9.2), and the kernel drops what comes from elsewhere.
type wire struct{}

// Exchange implements [Transport].
func (wire) Exchange(ctx context.Context, server netip.AddrPort, query *miekg.Msg, tcp bool) (*miekg.Msg, error) {
	network := "udp"
	if tcp {
		network = "tcp"
	}
	c, err := new(net.Dialer).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	// The end of ctx, for whatever reason, ends a read that has begun.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := &miekg.Conn{Conn: c, UDPSize: 4096}
	if err := conn.WriteMsg(query); err != nil {
		return nil, err
	}
	return read(conn, query, tcp)
}

// read waits for the answer. RFC 5452 §9.1: what does not fit the question may be somebody's guess. By UDP, the right one may still come; a
// TCP connection that brings anything else is of no use.
func read(conn *miekg.Conn, query *miekg.Msg, tcp bool) (*miekg.Msg, error) {
	for {
		raw, err := conn.ReadMsgHeader(nil)
		if err != nil && !errors.Is(err, miekg.ErrShortRead) {
			return nil, err
		}
		m := new(miekg.Msg)
		if err == nil {
			err = m.Unpack(raw)
		}
		// Some servers cut an answer that does not fit wherever they please: what could be read of it says so.
		if (err == nil || m.Truncated && !tcp) && answers(m, query) {
			return m, nil
		}
		if tcp {
			return nil, errors.New("an answer that does not fit the question")
		}
	}
}

// answers compares ID and question section. Servers that cannot read a query may leave the latter out.
func answers(m, query *miekg.Msg) bool {
	if !m.Response || m.Id != query.Id || m.Opcode != query.Opcode {
		return false
	}
	if len(m.Question) == 0 {
		return m.Rcode == miekg.RcodeFormatError
	}
	got, want := m.Question[0], query.Question[0]
	return len(m.Question) == 1 && got.Qtype == want.Qtype && got.Qclass == want.Qclass && strings.EqualFold(got.Name, want.Name)
}
