package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/cluster/gossip"
	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/ops/directory"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/protocol/smtp/smtpd"
	"github.com/quorumail/quorumail/queue"
	"github.com/quorumail/quorumail/queue/remote"
	"github.com/quorumail/quorumail/queue/route"
	"github.com/quorumail/quorumail/queue/route/dns"
	"github.com/quorumail/quorumail/queue/route/tlspolicy"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// mailflow is how mail leaves this node.
type mailflow struct {
	queue   *queue.Manager
	client  *remote.Client
	sts     *tlspolicy.STS
	reading sync.Mutex // one reads the rules and routes at a time, so that none puts back what another has read later
	routes  atomic.Pointer[route.Table]
	// noPassword are the domains whose routes have a password that cannot be opened.
	noPassword atomic.Pointer[[]string]
	checks     checks
}

// openMailflow joins the queue to the state, to the DNS and to the network.
func (n *node) openMailflow() (err error) {
	f := &n.flow
	f.checks.trusted = func() []netip.Prefix { return config.SMTPTrustedNetworks.From(n.directory.Lookup) }
	resolver, err := dns.New(dns.Config{Servers: config.List(n.cfg.DNS.Servers), Validating: config.List(n.cfg.DNS.Validating), Logger: n.log, Metrics: n.figures.dns})
	if err != nil {
		return err
	}
	router, err := route.NewRouter(route.RouterConfig{Resolver: resolver, Table: n.routeTable, Self: n.self, Local: n.local, Port: uint16(n.cfg.Delivery.Port)})
	if err != nil {
		return err
	}
	f.client, err = remote.New(remote.Config{Hostname: n.cfg.Hostname, LocalAddrs: n.cfg.Delivery.SourceAddrs(), Logger: n.log, Metrics: n.figures.remote})
	if err != nil {
		return err
	}
	if f.sts, err = tlspolicy.NewSTS(tlspolicy.STSConfig{Resolver: resolver, Store: policyStore{n.replica}, Logger: n.log}); err != nil {
		return err
	}
	f.queue, err = queue.New(queue.Config{Self: store.ServerID(n.id.ID), Store: queueStore{n.replica}, Sender: &queue.Mail{Router: router, Client: f.client, Sign: n.sign, Protect: n.protection(resolver).Protect},
		Resolver: queueResolver{n}, Judge: &f.checks, Cluster: workers{n}, Notices: queue.Notices{Hostname: n.cfg.Hostname, From: n.postmaster}, Policy: n.queuePolicy,
		PerDestination: func() int { return config.QueuePerDestination.From(n.directory.Lookup) }, Metrics: n.figures.queue, Logger: n.log})
	if err != nil {
		return err
	}
	n.readRules()
	n.replica.OnQueued(f.queue.Queued)
	n.replica.OnCredentials(f.queue.AccountChanged)
	n.replica.OnSettings(func() { f.queue.AccountChanged(0) }) // such as the quota of accounts without one of their own
	n.replica.OnRules(n.readRules)
	return nil
}

// runMailflow works on this node's queue until ctx ends.
func (n *node) runMailflow(ctx context.Context) error {
	defer n.flow.client.Close()
	return n.flow.queue.Run(ctx)
}

func (n *node) queuePolicy() queue.Policy {
	p := queue.Policy{MaxAge: config.QueueMaxAge.From(n.directory.Lookup), WarnAfter: config.QueueWarnAfter.From(n.directory.Lookup),
		QuotaGrace: config.DeliveryQuotaGrace.From(n.directory.Lookup)}
	if p.WarnAfter == 0 {
		p.WarnAfter = -1
	}
	return p
}

// readRules follows the replicated rules and routes. It runs where their changes are applied, before whoever made one hears that it holds: the next
// message is judged by it. Others wait meanwhile, for some milliseconds with as many rules as there may be; such changes are rare.
func (n *node) readRules() {
	n.flow.reading.Lock()
	defer n.flow.reading.Unlock()
	v := n.replica.View()
	defer v.Close()
	if err := errors.Join(n.readRoutes(v), n.flow.checks.read(v)); err != nil {
		n.log.Error("read the rules and routes", "pkg", "main", "err", err)
	}
}

func (n *node) readRoutes(v *state.View) error {
	records, err := v.Routes()
	if err != nil {
		return err
	}
	table, unopened, err := directory.RouteTable(records, n.secrets.open)
	if err != nil {
		return err
	}
	n.flow.routes.Store(&table)
	n.flow.noPassword.Store(&unopened)
	return nil
}

// elsewhere says whether the routes let mail go to an address of another system (directory.Config.Elsewhere).
func (n *node) elsewhere(_ context.Context, a smtp.Address) error {
	return directory.RefusedBy(n.routeTable(), a.Domain)
}

func (n *node) routeTable() route.Table {
	if t := n.flow.routes.Load(); t != nil {
		return *t
	}
	return route.Table{}
}

// queueStore makes the replica a queue.Store.
type queueStore struct{ *replica.Replica }

func (s queueStore) OpenBody(ctx context.Context, id store.BodyID) (io.ReadCloser, error) {
	return s.Replica.OpenBody(ctx, id)
}

func (s queueStore) AddMessage(ctx context.Context, msg *storepb.AddMessage, write func(io.Writer) error) (*storepb.Result, error) {
	body, err := s.NewBody()
	if err != nil {
		return nil, err
	}
	defer body.Abort() // does nothing after AddMessage
	summary := newSummarizer()
	if err := write(io.MultiWriter(body, summary)); err != nil {
		return nil, fmt.Errorf("write the message: %w", err)
	}
	if msg.Summary, err = summary.Finish(); err != nil {
		return nil, err
	}
	return s.Replica.AddMessage(ctx, body, msg)
}

// queueResolver makes the directory a queue.Resolver.
type queueResolver struct{ n *node }

func (r queueResolver) Resolve(ctx context.Context, a smtp.Address) ([]state.Recipient, bool, error) {
	boxes, err := r.n.directory.Resolve(ctx, a)
	if errors.Is(err, smtpd.ErrNotLocal) {
		return nil, false, nil
	}
	return boxes, true, err
}

func (r queueResolver) Postmaster(ctx context.Context) ([]state.Recipient, error) {
	return r.n.directory.Postmaster(ctx)
}

// workers tells who can work on queues: the members that gossip and their own word say are well, and this node unless it leaves.
type workers struct{ n *node }

func (w workers) IsLeader() bool { return w.n.cluster.IsLeader() }

func (w workers) Workers() (ids []store.ServerID) {
	for _, s := range w.n.cluster.Configuration().Servers {
		if s.ID == w.n.id.ID {
			if w.n.stage.Load() != stageLeaving {
				ids = append(ids, store.ServerID(s.ID))
			}
			continue
		}
		if m := w.n.talker.Member(s.ID); m.State == gossip.Alive && m.Ready {
			ids = append(ids, store.ServerID(s.ID))
		}
	}
	slices.Sort(ids)
	return ids
}

// Running implements queue.Cluster: a node that gossip does not hold for dead. One that is only cut off is held for dead, too.
func (w workers) Running(id store.ServerID) bool {
	state := w.n.talker.Member(cluster.ServerID(id)).State
	return state == gossip.Alive || state == gossip.Suspect
}

// postmaster is whom notices come from: that of the first domain, or of this host.
func (n *node) postmaster() smtp.Address {
	a := smtp.Address{Local: "postmaster", Domain: n.cfg.Hostname}
	v := n.replica.View()
	defer v.Close()
	if domains, err := v.Domains(); err == nil && len(domains) > 0 {
		a.Domain = domains[0].Name
	}
	return a
}

// leaveQueue gives this node's queue to the others, within a bound.
func (n *node) leaveQueue(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := n.flow.queue.Leave(ctx); err != nil {
		n.log.Warn("hand over the queue", "pkg", "main", "err", err)
	}
}
