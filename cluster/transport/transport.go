package transport

import (
	"container/list"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Protocols that share the port of the cluster, told apart by ALPN.
const (
	ProtoRaft = "qm-raft/1"
	ProtoRPC  = "qm-rpc/1"
	ProtoBulk = "qm-bulk/1"
	ProtoJoin = "qm-join/1"
)

// A connection that has not yet shown who it is lives this long; when there are too many of them the oldest goes, so that a flood of
// strangers cannot keep the nodes from each other: a node's own handshake takes milliseconds.
const (
	handshakeTimeout = 5 * time.Second
	maxHandshakes    = 128
)

// Who joins has shown no certificate: few at a time, and not for long.
const (
	joinTimeout = time.Minute
	maxJoining  = 16
)

// Config says who this node is on the wire.
type Config struct {
	Listen  string // host:port
	CertPEM []byte
	KeyPEM  []byte
	CAPEM   []byte
	Logger  *slog.Logger
	Network Network // default: TCP
}

// Network carries the bytes between ports, which encrypt them.
type Network interface {
	Listen(address string) (net.Listener, error)
	// Dial connects to address. What the connection is for is told for the sake of tests that break only some.
	Dial(ctx context.Context, proto, address string) (net.Conn, error)
}

type tcp struct{}

func (tcp) Listen(address string) (net.Listener, error) { return net.Listen("tcp", address) }

func (tcp) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

// Conn is a connection of a peer that proved who it is; From is empty for ProtoJoin.
type Conn struct {
	net.Conn
	From string
}

// Port is the node's one port for all traffic between nodes.
type Port struct {
	cfg      Config
	id       string // the node's own, from its certificate
	listener net.Listener
	server   *tls.Config
	cert     tls.Certificate
	roots    *x509.CertPool
	mu       sync.Mutex
	handlers map[string]func(Conn) // guarded by mu
	admit    func(id string) error // nil admits every node of the cluster's CA; guarded by mu
	open     map[*tracked]struct{} // in both directions; guarded by mu
	shaking  *list.List            // net.Conn, the oldest first; guarded by mu
	joining  int                   // guarded by mu
	closed   bool                  // guarded by mu
	running  sync.WaitGroup
}

// Open listens.
func Open(cfg Config) (*Port, error) {
	cert, err := tls.X509KeyPair(cfg.CertPEM, cfg.KeyPEM)
	if err != nil {
		return nil, fmt.Errorf("read the node's certificate: %w", err)
	}
	id, err := nodeID(cert.Leaf)
	if err != nil {
		return nil, fmt.Errorf("read the node's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(cfg.CAPEM) {
		return nil, errors.New("read the cluster's CA certificate: no PEM")
	}
	// The authority goes along, so that a joining node can check its pin.
	ca, err := ParseCertificate(cfg.CAPEM)
	if err != nil {
		return nil, err
	}
	cert.Certificate = append(cert.Certificate, ca.Raw)
	if cfg.Network == nil {
		cfg.Network = tcp{}
	}
	p := &Port{cfg: cfg, id: id, cert: cert, roots: roots, handlers: map[string]func(Conn){}, open: map[*tracked]struct{}{}, shaking: list.New()}
	p.server = &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: p.configFor}
	p.listener, err = cfg.Network.Listen(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for the other nodes at %s (is another program there?): %w", cfg.Listen, err)
	}
	return p, nil
}

// configFor demands a certificate from everybody but a node that only joins.
func (p *Port) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.cert}, ClientCAs: p.roots, ClientAuth: tls.RequireAndVerifyClientCert,
		NextProtos: []string{ProtoRaft, ProtoRPC, ProtoBulk}}
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == ProtoJoin {
		c.ClientAuth, c.NextProtos = tls.NoClientCert, []string{ProtoJoin}
	}
	return c, nil
}

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Handle registers who serves a protocol. The handler owns the connection.
func (p *Port) Handle(proto string, h func(Conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handlers[proto] = h
}

// Serve accepts until Close.
func (p *Port) Serve() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.running.Add(1) // under the lock, so that Wait, which comes after Close, counts it
	p.mu.Unlock()
	defer p.running.Done()
	for {
		c, err := p.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			p.cfg.Logger.Warn("accept a node's connection", "pkg", "transport", "err", err)
			time.Sleep(10 * time.Millisecond) // out of file descriptors: do not spin
			continue
		}
		p.running.Add(1)
		go func() { defer p.running.Done(); p.accept(c) }()
	}
}

func (p *Port) accept(raw net.Conn) {
	c, err := p.handshake(raw)
	if err != nil {
		raw.Close()
		p.cfg.Logger.Debug("a connection to the port of the cluster came to nothing", "pkg", "transport", "conn", raw.RemoteAddr().String(), "err", err)
		return // a stranger, or a peer that went away
	}
	proto, from := c.ConnectionState().NegotiatedProtocol, ""
	if proto != ProtoJoin {
		if from, err = p.between(c.ConnectionState(), proto); err != nil {
			raw.Close()
			p.cfg.Logger.Info("refuse a connection", "pkg", "transport", "node", from, "conn", raw.RemoteAddr().String(), "err", err)
			return
		}
	}
	t, h := p.track(c, proto, from)
	if h == nil {
		raw.Close()
		return
	}
	h(Conn{t, from})
}

// between tells which node is at the other end, if it means this one. Who dials checks that itself; but a node that took part in Raft for
// another one would undo what a majority holds (B5), so there each side makes sure.
func (p *Port) between(cs tls.ConnectionState, proto string) (from string, err error) {
	if from, err = peerID(cs); err != nil {
		return "", err
	}
	if cs.ServerName != p.id+nameSuffix && (cs.ServerName != "" || proto == ProtoRaft) {
		return from, fmt.Errorf("the connection is meant for %q, this is node %s", strings.TrimSuffix(cs.ServerName, nameSuffix), p.id)
	}
	return from, nil
}

func (p *Port) handshake(raw net.Conn) (*tls.Conn, error) {
	keepAlive(raw)
	leave := p.enterHandshake(raw)
	defer leave()
	c := tls.Server(raw, p.server)
	if err := raw.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	return c, raw.SetDeadline(time.Time{})
}

func (p *Port) enterHandshake(raw net.Conn) (leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shaking.Len() >= maxHandshakes {
		oldest := p.shaking.Front()
		oldest.Value.(net.Conn).Close()
		p.shaking.Remove(oldest)
	}
	e := p.shaking.PushBack(raw)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.shaking.Remove(e) // does nothing if it was pushed out
	}
}

// track decides who serves a connection, nil for nobody, and remembers it.
func (p *Port) track(c *tls.Conn, proto, from string) (*tracked, func(Conn)) {
	t := &tracked{Conn: c, port: p, from: from, joining: proto == ProtoJoin}
	if err := p.refusal(t); err != nil {
		if proto == ProtoRPC {
			sayWhy(c, err)
		}
		p.cfg.Logger.Info("refuse a connection", "pkg", "transport", "node", from, "conn", c.RemoteAddr().String(), "err", err)
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.handlers[proto] == nil {
		return nil, nil
	}
	if t.joining {
		if p.joining >= maxJoining || c.SetDeadline(time.Now().Add(joinTimeout)) != nil {
			return nil, nil
		}
		p.joining++
	}
	p.open[t] = struct{}{}
	return t, p.handlers[proto]
}

// refusal asks without the port's lock, which Close needs even when whoever is asked is stuck.
func (p *Port) refusal(t *tracked) error {
	p.mu.Lock()
	admit := p.admit
	p.mu.Unlock()
	if t.joining || admit == nil || t.from == "" {
		return nil
	}
	return admit(t.from)
}

// Admit registers who decides whether the node id may connect; its error is logged.
func (p *Port) Admit(admit func(id string) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.admit = admit
}

// DropRefused cuts the connections of nodes that are no longer admitted.
func (p *Port) DropRefused() {
	p.mu.Lock()
	open := slices.Collect(maps.Keys(p.open))
	p.mu.Unlock()
	verdicts := map[string]error{}
	for _, t := range open {
		if t.joining {
			continue
		}
		verdict, asked := verdicts[t.from]
		if !asked {
			verdict = p.refusal(t)
			verdicts[t.from] = verdict
		}
		if verdict != nil {
			t.NetConn().Close() // who serves it closes it, and it is forgotten
		}
	}
}

// tracked forgets itself in the port when it is closed.
type tracked struct {
	*tls.Conn
	port    *Port
	from    string // the peer; empty where it is not known
	joining bool
}

func (t *tracked) Close() error {
	t.port.mu.Lock()
	if _, open := t.port.open[t]; open {
		delete(t.port.open, t)
		if t.joining {
			t.port.joining--
		}
	}
	t.port.mu.Unlock()
	return t.NetConn().Close() // no close_notify: it could block on a peer that does not read
}

// dial connects by TLS, and notices when the peer's machine goes away without a word.
func dial(ctx context.Context, via Network, proto, address string, c *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := via.Dial(ctx, proto, address)
	if err != nil {
		return nil, err
	}
	keepAlive(raw)
	conn := tls.Client(raw, c)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// dialed is a connection without a port, closed as tracked is.
type dialed struct{ *tls.Conn }

func (d dialed) Close() error { return d.NetConn().Close() }

// Dial connects to the node id at address; an empty id takes any node of the cluster, though none takes Raft's messages that way.
func (p *Port) Dial(ctx context.Context, proto, id, address string) (net.Conn, error) {
	meant := ""
	if id != "" {
		meant = id + nameSuffix
	}
	c, err := dial(ctx, p.cfg.Network, proto, address, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.cert}, NextProtos: []string{proto}, ServerName: meant,
		InsecureSkipVerify: true, // the name is checked below, for an address says nothing about who listens there
		VerifyConnection: func(cs tls.ConnectionState) error {
			if _, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: p.roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
				return err
			}
			got, err := peerID(cs)
			if err == nil && id != "" && got != id {
				err = fmt.Errorf("node %s answers where %s was expected", got, id)
			}
			return err
		}})
	if err != nil {
		return nil, fmt.Errorf("connect to the node at %s: %w", address, err)
	}
	t := &tracked{Conn: c, port: p, from: id}
	if proto == ProtoRaft {
		t.from = "" // whom Raft speaks to is Raft's to say: a node that is being removed counts until its configuration has changed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.NetConn().Close()
		return nil, fmt.Errorf("connect to the node at %s: %w", address, net.ErrClosed)
	}
	p.open[t] = struct{}{}
	return t, nil
}

// DialJoin connects to a cluster of which only the pin of its authority is known.
func DialJoin(ctx context.Context, address string, pin [32]byte) (net.Conn, error) {
	c, err := dial(ctx, tcp{}, ProtoJoin, address, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{ProtoJoin},
		InsecureSkipVerify: true, // the pin decides
		VerifyConnection: func(cs tls.ConnectionState) error {
			last := cs.PeerCertificates[len(cs.PeerCertificates)-1]
			if sha256.Sum256(last.Raw) != pin {
				return errors.New("this is not the cluster that the invite names")
			}
			roots := x509.NewCertPool()
			roots.AddCert(last)
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
			return err
		}})
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster at %s: %w", address, err)
	}
	return dialed{c}, nil
}

// Close cuts every connection, also when a thread is stuck in the kernel.
func (p *Port) Close() {
	p.mu.Lock()
	p.closed = true
	for e := p.shaking.Front(); e != nil; e = e.Next() {
		e.Value.(net.Conn).Close()
	}
	for t := range p.open {
		t.NetConn().Close()
	}
	p.mu.Unlock()
	p.listener.Close()
}

// Wait waits, after Close, until nobody serves a connection any more or is asked whether a node may connect: what they use can be closed then.
func (p *Port) Wait() { p.running.Wait() }
