package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// NameServer is the place of the name server, for rules of the switch and for Address.
const NameServer = "dns"

// DNSFault is how a name server fails. The zero DNSFault is a healthy one.
type DNSFault struct {
	Silent   bool          // no answer
	Code     int           // the response code instead of an answer: 2 is SERVFAIL, 3 NXDOMAIN, 5 REFUSED
	Delay    time.Duration // before it answers
	Truncate bool          // over UDP it only tells to ask again over TCP
	Lame     bool          // it says that it is not responsible, and knows nothing
}

// DNS is a name server in the laboratory that fails as told. It is asked over UDP and TCP, and is authoritative for every name: one that it
// has no records for does not exist.
type DNS struct {
	address string
	servers []*dns.Server
	serving sync.WaitGroup
	stop    chan struct{}
	queries atomic.Uint64

	mu      sync.Mutex
	fault   DNSFault
	records map[string][]dns.RR // by name, in lower case
}

// StartDNS starts the name server, at a place of its own. There is one at most; it ends with the laboratory.
func (l *Lab) StartDNS(ctx context.Context) (*DNS, error) {
	if err := l.addPlace(NameServer, 53); err != nil {
		return nil, err
	}
	port := 53
	if l.sw == nil {
		port = 5353 // 53 may need root
	}
	d := &DNS{address: fmt.Sprintf("%s:%d", l.Address(NameServer), port), stop: make(chan struct{})}
	tcp, err := l.Listen(ctx, NameServer, "tcp", d.address)
	if err != nil {
		return nil, fmt.Errorf("name server: %w", err)
	}
	udp, err := l.ListenPacket(ctx, NameServer, "udp", d.address)
	if err != nil {
		return nil, fmt.Errorf("name server: %w", errors.Join(err, tcp.Close()))
	}
	d.serve(&dns.Server{Listener: tcp})
	d.serve(&dns.Server{PacketConn: udp})
	l.owe(d.close)
	return d, nil
}

// serve starts one of the two servers, and returns when it can be shut down.
func (d *DNS) serve(s *dns.Server) {
	started := make(chan struct{})
	s.Handler, s.NotifyStartedFunc = d, func() { close(started) }
	d.servers = append(d.servers, s)
	d.serving.Go(func() {
		_ = s.ActivateAndServe() // until it is shut down; the socket is ours, and good
	})
	<-started
}

func (d *DNS) close() error {
	close(d.stop)
	var errs []error
	for _, s := range d.servers {
		errs = append(errs, s.Shutdown())
	}
	d.serving.Wait()
	return errors.Join(errs...)
}

// Address is where to ask: an IP address and a port.
func (d *DNS) Address() string { return d.address }

// Queries tells how often it was asked, answered or not.
func (d *DNS) Queries() uint64 { return d.queries.Load() }

// Fail makes it fail in this way from now on.
func (d *DNS) Fail(f DNSFault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

// SetRecords replaces all records. They are lines of a zone file (RFC 1035 §5), such as "example.test. 60 IN MX 10 mx.example.test.".
func (d *DNS) SetRecords(zone string) error {
	records := map[string][]dns.RR{}
	p := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := dns.CanonicalName(rr.Header().Name)
		records[name] = append(records[name], rr)
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("records of the name server: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records = records
	return nil
}

// ServeDNS answers one query.
func (d *DNS) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	d.queries.Add(1)
	d.mu.Lock()
	fault, records := d.fault, d.records
	d.mu.Unlock()
	if fault.Silent || !d.wait(fault.Delay) {
		return
	}
	reply := new(dns.Msg).SetReply(query)
	reply.Authoritative = true
	udp := w.RemoteAddr().Network() == "udp"
	switch {
	case fault.Code != 0:
		reply.Rcode = fault.Code
	case fault.Lame:
		reply.Authoritative = false
	case fault.Truncate && udp:
		reply.Truncated = true
	default:
		find(reply, records)
	}
	if udp {
		reply.Truncate(room(query))
	}
	_ = w.WriteMsg(reply) // who asked is gone, or asks again
}

// wait lets a time pass, unless the server is closed meanwhile.
func (d *DNS) wait(t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.stop:
		return false
	}
}

// find fills the answer in.
func find(reply *dns.Msg, records map[string][]dns.RR) {
	for _, q := range reply.Question {
		of := records[dns.CanonicalName(q.Name)]
		if len(of) == 0 {
			reply.Rcode = dns.RcodeNameError
		}
		for _, rr := range of {
			if t := rr.Header().Rrtype; t == q.Qtype || t == dns.TypeCNAME || q.Qtype == dns.TypeANY {
				reply.Answer = append(reply.Answer, rr)
			}
		}
	}
}

// room is how long an answer over UDP may be.
func room(query *dns.Msg) int {
	if o := query.IsEdns0(); o != nil {
		return max(int(o.UDPSize()), dns.MinMsgSize)
	}
	return dns.MinMsgSize
}
