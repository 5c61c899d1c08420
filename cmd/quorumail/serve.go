package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/cluster/transport"
	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/ops/directory"
	"github.com/quorumail/quorumail/ops/membership"
	"github.com/quorumail/quorumail/protocol/imap/imapd"
	"github.com/quorumail/quorumail/protocol/smtp/smtpd"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/broken"
	"github.com/quorumail/quorumail/store/durable"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

func serveCommand() *cobra.Command {
	var o serveOptions
	c := &cobra.Command{Use: "serve", Short: "Run this node", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(cmd)
		if err != nil {
			return err
		}
		ctx, err := prepare(cmd)
		if err != nil {
			return err
		}
		collectLess()
		return serve(ctx, cfg, o)
	}}
	devFlags(c)
	c.Flags().BoolVar(&o.init, "init", false, "first start: found a new cluster")
	c.Flags().StringVar(&o.join, "join", "", "first start: join a cluster with the token that \"quorumail invite\" printed there")
	return c
}

// collectLess lets garbage grow to twice of what is in use, instead of to as much. A node has little in use, so that costs an idle one some 2 MiB, and saves
// about a twentieth of the processor's time under load (ops/bench/REPORT.md). GOGC, where it is set, holds.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}

type serveOptions struct {
	init bool
	join string
}

// node is a running node. Its fields are set in the order of its start.
type node struct {
	cfg       *config.Config
	log       *slog.Logger
	level     *slog.LevelVar
	figures   figures
	id        identity
	blobs     *blob.Disk
	machine   *state.Machine
	replica   *replica.Replica
	cluster   *cluster.Node
	members   *membership.Manager
	talker    *membership.Talker
	directory *directory.Directory
	admin     *admin.Server
	listeners addresses
	port      atomic.Pointer[transport.Port]
	sockets   sockets // of clients
	stage     atomic.Int32
	under     under
	strangers strangers
	rates     rates
	secrets   secretsKey
	keeper    *secretsKeeper
	signers   dkimSigners
	flow      mailflow
}

// under is what a node stands on. The zero value is the operating system; tests put what they control there.
type under struct {
	fs              vfs.FS            // of the log, the state and the bodies
	logSegmentBytes int               // of the log's files
	network         transport.Network // between the nodes
	exit            func(error)       // ends the process
}

// serve starts the parts in their order, runs until ctx ends, and stops them in the reverse order.
func serve(ctx context.Context, cfg *config.Config, o serveOptions) (err error) {
	n := &node{cfg: cfg, level: &slog.LevelVar{}, figures: newFigures()}
	n.log = newLogger(cfg, n.level)
	slog.SetDefault(n.log)
	notice, err := broken.Notice()
	if err != nil {
		return err
	}
	if notice != "" {
		n.log.Error(notice, "pkg", "main")
	}
	if err := durable.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return err
	}
	if err := unfinishedRestore(cfg.DataDir); err != nil {
		return err
	}
	creds, j, err := n.identify(ctx, o)
	if err != nil {
		return err
	}
	if err := n.openStores(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.machine.Close(), n.blobs.Close()) }()
	if err := n.openCluster(ctx, creds, j); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.cluster.Close()) }()
	n.log.Info("the node takes part", "pkg", "main", "node", cfg.Name, "id", n.id.ID)
	return n.run(ctx, j)
}

// identify finds out who this node is, or makes it somebody.
func (n *node) identify(ctx context.Context, o serveOptions) (credentials, *joiner, error) {
	id, err := loadIdentity(n.cfg.DataDir)
	switch {
	case err == nil:
		n.id = id
		if err := n.id.countStart(n.cfg.DataDir); err != nil {
			return credentials{}, nil, err
		}
		j, err := loadJoiner(n.cfg.DataDir)
		if err != nil {
			return credentials{}, nil, err
		}
		creds, err := loadCredentials(n.cfg.DataDir)
		return creds, j, err
	case !errors.Is(err, os.ErrNotExist):
		return credentials{}, nil, err
	case o.init:
		if n.id, err = found(n.cfg.DataDir, n.cfg.Name); err != nil {
			return credentials{}, nil, err
		}
		creds, err := loadCredentials(n.cfg.DataDir)
		return creds, nil, err
	}
	j, err := newJoiner(n.cfg, o.join)
	if err != nil {
		return credentials{}, nil, err
	}
	if j != nil {
		n.id = j.Identity
		creds, err := j.askToJoin(ctx)
		return creds, j, err
	}
	return credentials{}, nil, fmt.Errorf("%s holds no node yet: start with --init to found a cluster, or with --join TOKEN to join one", n.cfg.DataDir)
}

func (n *node) openStores() (err error) {
	n.blobs, err = blob.Open(blob.Config{Dir: filepath.Join(n.cfg.DataDir, "blobs"), FS: n.under.fs, OnFatal: n.fatal, Logger: n.log})
	if err != nil {
		return err
	}
	n.machine, err = state.Open(state.Config{Dir: filepath.Join(n.cfg.DataDir, "state"), FS: n.under.fs, Blobs: n.blobs, Self: store.ServerID(n.id.ID), Logger: n.log, OnFatal: n.fatal})
	if err != nil {
		return errors.Join(err, n.blobs.Close())
	}
	return nil
}

// fatal ends the process: a dead replica is safe, a wrong one is not. The sockets go first, for the disk may hang the end, too.
func (n *node) fatal(err error) {
	n.sockets.cut()
	if port := n.port.Load(); port != nil {
		port.Close()
	}
	n.log.Error("this node stops", "pkg", "main", "err", err)
	if n.under.exit != nil {
		n.under.exit(err)
	}
	if errors.Is(err, cluster.ErrStartAgain) {
		n.startAgain()
	}
	os.Exit(3)
}

// startAgain replaces this process by a new one of the same program, with the same arguments. It returns only if it cannot.
func (n *node) startAgain() {
	bin, err := os.Executable()
	if err == nil {
		err = syscall.Exec(bin, os.Args, os.Environ())
	}
	n.log.Error("start again", "pkg", "main", "err", err)
}

func (n *node) openCluster(ctx context.Context, creds credentials, j *joiner) error {
	port, err := transport.Open(transport.Config{Listen: n.cfg.Cluster.Listen, CertPEM: creds.cert, KeyPEM: creds.key, CAPEM: creds.ca, Network: n.under.network, Logger: n.log})
	if err != nil {
		return err
	}
	n.port.Store(port)
	if j != nil && !j.hasState {
		if err := j.fetchState(ctx, port, n.cfg.DataDir, machine{n.machine}, n.under.fs); err != nil {
			port.Close()
			return fmt.Errorf("fetch the state of the cluster: %w", err)
		}
		// From here on this is a node; node.json comes last.
		if err := errors.Join(creds.save(n.cfg.DataDir), n.id.save(n.cfg.DataDir)); err != nil {
			port.Close()
			return err
		}
	}
	log, pp := &replicatedLog{}, newPeers(n.log)
	n.replica, err = replica.New(replica.Config{Self: store.ServerID(n.id.ID), DataIncarnation: n.id.incarnation(), Boot: n.id.Starts,
		Name: n.cfg.Name, Address: n.cfg.Cluster.Advertise, Machine: n.machine, Blobs: n.blobs, Log: log, Peers: pp,
		SpoolDir: filepath.Join(n.cfg.DataDir, "blobs"), FreeBytes: n.freeBytes,
		MinFreeBytes: n.cfg.Limits.MinFreeDiskBytes, Lag: n.lag, Undelete: n.undeleteWindow, Metrics: n.figures.replica, Logger: n.log})
	if err != nil {
		port.Close()
		return err
	}
	if n.rates, err = newRates(); err != nil {
		port.Close()
		return err
	}
	if n.directory, err = directory.New(directory.Config{Store: n.replica, SaltKey: n.saltKey, Elsewhere: n.elsewhere, Seal: n.secrets.seal, Metrics: n.figures.directory, Logger: n.log}); err != nil {
		port.Close()
		return err
	}
	n.keepSecretsKey()
	n.signers.view, n.signers.secrets = n.replica.View, &n.secrets
	n.cluster, err = cluster.Open(ctx, cluster.Config{ID: n.id.ID, DataDir: n.cfg.DataDir, Advertise: n.cfg.Cluster.Advertise, Machine: machine{n.machine}, Port: port,
		LogStore: n.cfg.Raft.LogStore, Heartbeat: n.cfg.Raft.Heartbeat, Logger: n.log, OnFatal: n.fatal, Join: n.admit, Refuse: n.refuse,
		SnapshotEntries: uint64(n.cfg.Raft.SnapshotEntries), TrailingEntries: 4 * uint64(n.cfg.Raft.SnapshotEntries), FS: n.under.fs, SegmentBytes: n.under.logSegmentBytes,
		Before: func(c *cluster.Node) error {
			n.cluster, log.n = c, c
			pp.open(c)
			c.Handle(methodSpent, answerSpent)
			c.Handle(methodWarnings, n.answerWarnings)
			c.Handle(methodStateHash, n.answerStateHash)
			c.Handle(methodSecretsKey, n.keeper.answer)
			n.openMembership()
			return n.putInlineAgain()
		}})
	if err != nil {
		port.Close()
		return err
	}
	return nil
}

// putInlineAgain restores, from this node's own log, inline bodies that a crash took before they were synced. It comes before anything is
// applied: what is applied next may note that all before it is durable, and if the process died then, nobody would look again.
func (n *node) putInlineAgain() error {
	gone, err := n.machine.UnsureInline()
	if err != nil {
		return fmt.Errorf("look for bodies that a crash took: %w", err)
	}
	for _, b := range gone {
		cmd, err := n.cluster.Command(b.Index)
		if errors.Is(err, cluster.ErrTruncated) {
			n.replica.Suspect(b.ID) // it was durable once, or the log would reach back: a peer has it
			continue
		}
		if err == nil {
			err = n.machine.PutInlineAgain(cmd)
		}
		if err != nil {
			return fmt.Errorf("restore the body of entry %d: %w", b.Index, err)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	n.log.Info("restored bodies that a crash took", "pkg", "main", "count", len(gone))
	if err := n.blobs.Sync(); err != nil {
		return fmt.Errorf("restore the bodies that a crash took: %w", err)
	}
	return nil
}

// freeBytes is the room on the data folder's disk.
func (n *node) freeBytes() (int64, error) {
	free, err := durable.FreeBytes(n.cfg.DataDir)
	return int64(min(free, math.MaxInt64)), err
}

// lag is how many committed entries this node has not applied.
func (n *node) lag() uint64 {
	s := n.cluster.Status()
	return s.Commit - min(s.Commit, s.Applied)
}

// undeleteWindow is the setting of how long deleted messages are kept.
func (n *node) undeleteWindow() time.Duration {
	return config.MailboxUndeleteWindow.From(n.directory.Lookup)
}

// run serves until ctx ends.
func (n *node) run(ctx context.Context, j *joiner) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	start := func(what string, until context.Context, f func(context.Context) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := f(until); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		}()
	}
	defer func() { stop(); wg.Wait(); err = errors.Join(err, n.replica.Close()) }()
	start("replica", background, n.replica.Run)
	start("membership", background, n.members.Run)
	start("gossip", background, n.talker.Run)
	start("counts", background, n.shareCounts)
	if err := n.openMailflow(); err != nil {
		return err
	}
	start("queue", background, n.runMailflow)
	start("policies", background, n.tendPolicies)
	start("secrets key", background, n.keeper.run)
	if n.admin, err = admin.New(n.cfg.DataDir, n.log); err != nil {
		return err
	}
	n.registerAdmin()
	if n.cfg.Listeners.Admin != "" {
		l, err := n.listenAdmin()
		if err != nil {
			return err
		}
		start("admin", background, func(ctx context.Context) error { return n.admin.Serve(ctx, l) })
	}
	if n.cfg.Listeners.Metrics != "" {
		m, err := n.metricsServer()
		if err != nil {
			return err
		}
		l, err := n.listen("metrics", n.cfg.Listeners.Metrics)
		if err != nil {
			return err
		}
		start("metrics", background, func(ctx context.Context) error { return m.Serve(ctx, l) })
	}
	if err := n.settle(ctx, j); err != nil {
		return err
	}
	tc, err := n.clientTLS(ctx)
	if err != nil {
		return err
	}
	if err := n.waitReady(ctx); err != nil {
		n.leave(ctx, nil)
		return stopped(ctx)
	}
	servers, err := n.servers(tc)
	if err != nil {
		return err
	}
	n.stage.Store(stageServing)
	inSession, endSessions := context.WithCancel(context.WithoutCancel(ctx))
	defer endSessions()
	var sessions sync.WaitGroup
	for what, s := range servers {
		sessions.Add(1)
		go func() {
			defer sessions.Done()
			if err := s.serve(inSession, s.accepts); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		}()
	}
	<-ctx.Done()
	n.leave(ctx, servers)
	endSessions()
	sessions.Wait()
	return stopped(ctx)
}

// stopped is why the node stops: nil when it was told to.
func stopped(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// settle makes this node part of the cluster, the first time.
func (n *node) settle(ctx context.Context, j *joiner) error {
	if j != nil {
		return j.becomeMember(ctx, n.cfg.DataDir, n.log)
	}
	path := filepath.Join(n.cfg.DataDir, authorityKeyFile)
	key, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || !n.id.Founder {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the cluster's CA: %w", err)
	}
	if err := n.cluster.Bootstrap(); err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(n.cfg.DataDir, "ca.pem"))
	if err != nil {
		return fmt.Errorf("read the cluster's CA: %w", err)
	}
	for name, value := range map[string][]byte{secretCACert: ca, secretCAKey: key} {
		_, err := n.replica.Propose(ctx, func(c *storepb.Command) {
			c.Op = &storepb.Command_PutSecret{PutSecret: &storepb.PutSecret{Name: name, Value: value, Create: true}}
		})
		if err != nil && !errors.Is(err, store.ErrExists) {
			return fmt.Errorf("keep the cluster's CA: %w", err)
		}
	}
	// A cluster that begins with this program has no other to wait for.
	_, err = n.replica.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_RaiseVersion{RaiseVersion: &storepb.RaiseVersion{Version: state.CommandVersion}}
	})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("begin with commands of version %d: %w", state.CommandVersion, err)
	}
	return os.Remove(path)
}

// clientTLS is how mail clients are met: with the certificate of the configuration's files, or one from the cluster's CA.
func (n *node) clientTLS(ctx context.Context) (*tls.Config, error) {
	if !n.cfg.TLS.Automatic() {
		files, err := newCertificateFiles(n.cfg.TLS.Cert, n.cfg.TLS.Key, n.log)
		if err != nil {
			return nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.get}, nil
	}
	cert, err := n.signedCertificate(ctx)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, err
}

// signedCertificate is this node's from the cluster's CA, made once.
func (n *node) signedCertificate(ctx context.Context) (tls.Certificate, error) {
	certPath, keyPath := filepath.Join(n.cfg.DataDir, "tls.crt"), filepath.Join(n.cfg.DataDir, "tls.key")
	if c, err := tls.LoadX509KeyPair(certPath, keyPath); err == nil {
		return c, nil
	}
	ca, err := n.waitAuthority(ctx)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, req, err := transport.NewKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := ca.SignServer(req, n.cfg.Hostname, "localhost", "127.0.0.1", "::1")
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := errors.Join(durable.WriteFile(keyPath, key, 0o600), durable.WriteFile(certPath, cert, 0o600)); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// waitAuthority waits until this node knows the cluster's CA.
func (n *node) waitAuthority(ctx context.Context) (*transport.CA, error) {
	for {
		ca, err := n.authority()
		if err == nil || !errors.Is(err, store.ErrNotFound) {
			return ca, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (n *node) listen(name, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for %s at %s (is another program there?): %w", name, address, err)
	}
	n.listeners.add(name, l.Addr().String())
	return n.sockets.listener(l), nil
}

func (n *node) listenClients(name, address string) (*clientListener, error) {
	l, err := n.listen(name, address)
	if err != nil {
		return nil, err
	}
	if len(n.cfg.Listeners.ProxyFrom) > 0 {
		l = newProxyListener(l, n.cfg.Listeners.ProxyFrom, n.log)
	}
	return newClientListener(l), nil
}

// server is one listener and who serves it.
type server struct {
	listener *clientListener
	accepts  net.Listener // listener, or TLS over it
	serve    func(context.Context, net.Listener) error
}

func (n *node) servers(tc *tls.Config) (map[string]server, error) {
	out := map[string]server{}
	for name, mode := range map[string]smtpd.Mode{"smtp": smtpd.MX, "submission": smtpd.Submission, "submissions": smtpd.Submissions, "lmtp": smtpd.LMTP} {
		address := n.cfg.Listeners.ByName()[name]
		if address == "" {
			continue
		}
		s, err := smtpd.New(n.smtpConfig(mode, tc))
		if err != nil {
			return nil, err
		}
		n.replica.OnRevoked(s.EndSessions)
		l, err := n.listenClients(name, address)
		if err != nil {
			return nil, err
		}
		out[name] = server{l, l, s.Serve}
	}
	for _, name := range []string{"imap", "imaps"} {
		address := n.cfg.Listeners.ByName()[name]
		if address == "" {
			continue
		}
		s, err := imapd.New(imapd.Config{Hostname: n.cfg.Hostname, TLS: tc, AllowPlainAuth: n.cfg.InsecureLoopbackAuth,
			Limits: imapd.Limits{Sessions: n.cfg.Limits.MaxConnections}, Store: imapStore{n.replica},
			Auth: imapd.AuthFunc(n.imapAuth), Metrics: n.figures.imap, Logger: n.log})
		if err != nil {
			return nil, err
		}
		n.replica.OnRevoked(s.EndSessions)
		l, err := n.listenClients(name, address)
		if err != nil {
			return nil, err
		}
		accepts := net.Listener(l)
		if name == "imaps" {
			accepts = tls.NewListener(l, tc)
		}
		out[name] = server{l, accepts, s.Serve}
	}
	return out, nil
}

// newLogger makes the logger; its level can be changed while the node runs.
func newLogger(cfg *config.Config, level *slog.LevelVar) *slog.Logger {
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		level.Set(slog.LevelInfo) // the configuration was checked
	}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
