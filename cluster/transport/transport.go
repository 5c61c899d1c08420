package transport

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
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

// handshakeTimeout bounds a connection that has not yet shown who it is.
const handshakeTimeout = 5 * time.Second

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

// keepAlive ends connections to a node without power in about five seconds. A follower that takes in a checkpoint waits for nothing
// else, and cannot vote meanwhile: it must not wait for minutes for a leader that is gone.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3}

func (tcp) Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return kept{l}, nil
}

// kept sets keepAlive on what it accepts.
type kept struct{ net.Listener }

// Accept waits for a connection.
func (k kept) Accept() (net.Conn, error) {
	c, err := k.Listener.Accept()
	if t, ok := c.(*net.TCPConn); ok && err == nil {
		_ = t.SetKeepAliveConfig(keepAlive) // fails for a connection that is gone already, as its first use will
	}
	return c, err
}

func (tcp) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	return (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext(ctx, "tcp", address)
}

// Conn is a connection of a peer that proved who it is; From is empty for ProtoJoin.
type Conn struct {
	net.Conn
	From string
}

// Port is the node's one port for all traffic between nodes.
type Port struct {
	cfg      Config
	listener net.Listener
	server   *tls.Config
	cert     tls.Certificate
	roots    *x509.CertPool
	mu       sync.Mutex
	handlers map[string]func(Conn)  // guarded by mu
	open     map[*tls.Conn]struct{} // in both directions; guarded by mu
	closed   bool                   // guarded by mu
	running  sync.WaitGroup
}

// Open listens.
func Open(cfg Config) (*Port, error) {
	cert, err := tls.X509KeyPair(cfg.CertPEM, cfg.KeyPEM)
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
	p := &Port{cfg: cfg, cert: cert, roots: roots, handlers: map[string]func(Conn){}, open: map[*tls.Conn]struct{}{}}
	p.server = &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: p.configFor}
	p.listener, err = cfg.Network.Listen(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for the other nodes: %w", err)
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
	c := tls.Server(raw, p.server)
	err := raw.SetDeadline(time.Now().Add(handshakeTimeout))
	if err == nil {
		err = c.Handshake()
	}
	if err == nil {
		err = raw.SetDeadline(time.Time{})
	}
	if err != nil {
		raw.Close()
		return // a stranger, or a peer that went away
	}
	cs := c.ConnectionState()
	from := ""
	if cs.NegotiatedProtocol != ProtoJoin {
		id, err := peerID(cs)
		if err != nil {
			c.Close()
			return
		}
		from = id
	}
	p.mu.Lock()
	h := p.handlers[cs.NegotiatedProtocol]
	p.mu.Unlock()
	if h == nil || !p.track(c) {
		raw.Close()
		return
	}
	h(Conn{&tracked{Conn: c, port: p}, from})
}

// track notes an open connection, for Close to cut; not when the port is closed.
func (p *Port) track(c *tls.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.open[c] = struct{}{}
	}
	return !p.closed
}

// tracked forgets itself in the port when it is closed.
type tracked struct {
	*tls.Conn
	port *Port
}

func (t *tracked) Close() error {
	t.port.mu.Lock()
	delete(t.port.open, t.Conn)
	t.port.mu.Unlock()
	return t.Conn.NetConn().Close() // no close_notify: it could block on a peer that does not read
}

// Dial connects to the node id at address; an empty id takes any node of the cluster.
func (p *Port) Dial(ctx context.Context, proto, id, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := p.cfg.Network.Dial(ctx, proto, address)
	if err != nil {
		return nil, fmt.Errorf("connect to the node at %s: %w", address, err)
	}
	c := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.cert}, NextProtos: []string{proto},
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
	if err := c.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("connect to the node at %s: %w", address, err)
	}
	if !p.track(c) {
		raw.Close()
		return nil, fmt.Errorf("connect to the node at %s: %w", address, net.ErrClosed)
	}
	return &tracked{Conn: c, port: p}, nil
}

// DialJoin connects to a cluster of which only the pin of its authority is known.
func DialJoin(ctx context.Context, address string, pin [32]byte) (net.Conn, error) {
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: handshakeTimeout}, Config: &tls.Config{
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
		}}}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster at %s: %w", address, err)
	}
	return c, nil
}

// Close cuts every connection, also when a thread is stuck in the kernel.
func (p *Port) Close() {
	p.mu.Lock()
	p.closed = true
	open := make([]*tls.Conn, 0, len(p.open))
	for c := range p.open {
		open = append(open, c)
	}
	p.mu.Unlock()
	p.listener.Close()
	for _, c := range open {
		c.NetConn().Close()
	}
}
