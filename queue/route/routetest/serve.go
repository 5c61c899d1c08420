package routetest

import (
	"context"
	"net"
	"net/netip"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/quorumail/quorumail/queue/route/dns"
)

// Resolver answers out of a zone, without a network; all of its answers may be authentic. It reads no file of the machine.
func Resolver(t testing.TB, zone *Zone) *dns.Client {
	t.Helper()
	const server = "192.0.2.53"
	return NewResolver(t, dns.Config{Servers: []string{server}, Validating: []string{server}, Transport: zone})
}

// NewResolver is dns.New for tests: with no hosts file unless there is one in cfg.
func NewResolver(t testing.TB, cfg dns.Config) *dns.Client {
	t.Helper()
	if cfg.HostsFile == "" {
		cfg.HostsFile = dns.NoFile
	}
	d, err := dns.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Exchange implements dns.Transport.
func (z *Zone) Exchange(ctx context.Context, _ netip.AddrPort, query *miekg.Msg, tcp bool) (*miekg.Msg, error) {
	m, how := z.answer(query, tcp)
	if how == Silence {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return m, nil
}

// Serve answers out of a zone by UDP and TCP on a port of 127.0.0.1 until the test ends.
func Serve(t testing.TB, zone *Zone) (addr string) {
	t.Helper()
	udp, tcp := listen(t)
	for _, s := range []*miekg.Server{{PacketConn: udp, Handler: zone.handler(false)}, {Listener: tcp, Handler: zone.handler(true)}} {
		started, ended := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { ended <- s.ActivateAndServe() }()
		select {
		case <-started:
		case err := <-ended:
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	return udp.LocalAddr().String()
}

// listen finds a port that is free for both.
func listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return udp, tcp
		}
		_ = tcp.Close()
	}
	t.Fatal("no port that is free for UDP and for TCP")
	return nil, nil
}

func (z *Zone) handler(tcp bool) miekg.HandlerFunc {
	return func(w miekg.ResponseWriter, query *miekg.Msg) {
		m, how := z.answer(query, tcp)
		switch how {
		case Silence:
			return
		case Forgery:
			forge(w, m)
		case Garbage:
			if !tcp {
				_, _ = w.Write([]byte{1, 2, 3})
				_, _ = w.Write(append([]byte{byte(m.Id >> 8), byte(m.Id), 0x80, 0, 0, 9}, make([]byte, 6)...))
			}
		}
		if how == CutOff && !tcp {
			cut(w, m)
			return
		}
		if !tcp {
			m.Truncate(size(query))
		}
		// A client that has gone is its own affair.
		_ = w.WriteMsg(m)
	}
}

// cut sends an answer of one record that ends within it.
func cut(w miekg.ResponseWriter, m *miekg.Msg) {
	m.Answer = append(m.Answer, &miekg.TXT{Hdr: miekg.RR_Header{Name: m.Question[0].Name, Rrtype: miekg.TypeTXT, Class: miekg.ClassINET}, Txt: []string{"never told"}})
	if raw, err := m.Pack(); err == nil {
		_, _ = w.Write(raw[:len(raw)-5])
	}
}

// forge sends what a stranger would who has not seen the question.
func forge(w miekg.ResponseWriter, m *miekg.Msg) {
	other := m.Copy()
	other.Id++
	other.Answer = nil
	_ = w.WriteMsg(other)
	other.Id = m.Id
	other.Question[0].Name = "other.test."
	_ = w.WriteMsg(other)
	query := m.Copy()
	query.Response, query.Answer = false, nil
	_ = w.WriteMsg(query)
}

// size: RFC 6891 §6.2.5, and RFC 1035 §4.2.1 without EDNS.
func size(query *miekg.Msg) int {
	if o := query.IsEdns0(); o != nil {
		return int(max(o.UDPSize(), miekg.MinMsgSize))
	}
	return miekg.MinMsgSize
}
