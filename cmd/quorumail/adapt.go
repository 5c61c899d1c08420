package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/protocol/imap/imapd"
	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/protocol/smtp/smtpd"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// machine makes the state a cluster.Machine.
type machine struct{ *state.Machine }

func (m machine) Apply(entries []cluster.Entry) error {
	out := make([]state.Entry, len(entries))
	for i, e := range entries {
		out[i] = state.Entry{Index: e.Index, Term: e.Term, Command: e.Command}
		if c := e.Configuration; c != nil {
			p := &storepb.LogPosition{ConfigurationIndex: c.Index}
			for _, s := range c.Servers {
				p.Servers = append(p.Servers, &storepb.ConfiguredServer{Id: string(s.ID), Address: s.Address, Voter: s.Voter})
			}
			out[i].Configuration = p
		}
	}
	return m.Machine.Apply(out)
}

func (m machine) Position() cluster.Position { return position(m.Machine.Position()) }

func position(p *storepb.LogPosition) cluster.Position {
	out := cluster.Position{Index: p.Index, Term: p.Term, Configuration: cluster.Configuration{Index: p.ConfigurationIndex}}
	for _, s := range p.Servers {
		out.Configuration.Servers = append(out.Configuration.Servers, cluster.Server{ID: cluster.ServerID(s.Id), Address: s.Address, Voter: s.Voter})
	}
	return out
}

func (m machine) Checkpoint() (cluster.Position, int64, io.ReadCloser, error) {
	p, size, r, err := m.Machine.Checkpoint()
	if err != nil {
		return cluster.Position{}, 0, nil, err
	}
	return position(p), size, r, nil
}

// replicatedLog makes the cluster a replica.Log. The node is set once it is open; nothing is proposed before.
type replicatedLog struct{ n *cluster.Node }

func (l *replicatedLog) Propose(ctx context.Context, cmd []byte) error {
	return clusterError(l.n.Propose(ctx, cmd))
}

func (l *replicatedLog) ReadBarrier(ctx context.Context) error {
	return clusterError(l.n.ReadBarrier(ctx))
}

func clusterError(err error) error {
	switch {
	case errors.Is(err, cluster.ErrUnknownOutcome):
		return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	case errors.Is(err, cluster.ErrUnavailable):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// peers makes the cluster replica.Peers. Handlers that are registered before the node is open are kept until then.
type peers struct {
	n       *cluster.Node
	log     *slog.Logger
	calls   map[string]func(context.Context, store.ServerID, []byte) ([]byte, error)
	streams map[string]func(context.Context, store.ServerID, net.Conn) error
}

func newPeers(log *slog.Logger) *peers {
	return &peers{log: log, calls: map[string]func(context.Context, store.ServerID, []byte) ([]byte, error){},
		streams: map[string]func(context.Context, store.ServerID, net.Conn) error{}}
}

func (p *peers) open(n *cluster.Node) {
	p.n = n
	for method, h := range p.calls {
		n.Handle(method, func(ctx context.Context, from cluster.ServerID, req []byte) ([]byte, error) {
			return h(ctx, store.ServerID(from), req)
		})
	}
	for method, h := range p.streams {
		n.HandleStream(method, func(ctx context.Context, from cluster.ServerID, c net.Conn) {
			if err := h(ctx, store.ServerID(from), c); err != nil {
				p.log.Info("a stream of bodies ended", "pkg", "replica", "node", from, "err", err)
			}
		})
	}
}

func (p *peers) Voters() (ids []store.ServerID, configurationIndex uint64) {
	c := p.n.Configuration()
	for _, s := range c.Servers {
		if s.Voter {
			ids = append(ids, store.ServerID(s.ID))
		}
	}
	return ids, c.Index
}

func (p *peers) Servers() (ids []store.ServerID) {
	for _, s := range p.n.Configuration().Servers {
		ids = append(ids, store.ServerID(s.ID))
	}
	return ids
}

func (p *peers) Call(ctx context.Context, to store.ServerID, method string, req []byte) ([]byte, error) {
	return p.n.Call(ctx, cluster.ServerID(to), method, req)
}

func (p *peers) OpenStream(ctx context.Context, to store.ServerID, method string) (net.Conn, error) {
	return p.n.OpenStream(ctx, cluster.ServerID(to), method)
}

func (p *peers) Handle(method string, h func(context.Context, store.ServerID, []byte) ([]byte, error)) {
	p.calls[method] = h
}

func (p *peers) HandleStream(method string, h func(context.Context, store.ServerID, net.Conn) error) {
	p.streams[method] = h
}

func (p *peers) IsLeader() bool { return p.n.IsLeader() }

// smtpStore makes the replica an smtpd.Store.
type smtpStore struct{ *replica.Replica }

func (s smtpStore) NewBody() (smtpd.Body, error) { return s.Replica.NewBody() }

func (s smtpStore) AddMessage(ctx context.Context, body smtpd.Body, msg *storepb.AddMessage) (*storepb.Result, error) {
	return s.Replica.AddMessage(ctx, body.(*replica.Upload), msg)
}

// summarizer makes mime's an smtpd.Summarizer.
type summarizer struct{ *mime.Summarizer }

func newSummarizer() smtpd.Summarizer { return summarizer{mime.NewSummarizer()} }

func (s summarizer) Finish() ([]byte, error) { return s.Summary().Marshal(), nil }

// imapStore makes the replica an imapd.Store.
type imapStore struct{ *replica.Replica }

func (s imapStore) View() imapd.View             { return imapView{s.Replica.View()} }
func (s imapStore) NewBody() (imapd.Body, error) { return s.Replica.NewBody() }

func (s imapStore) AddMessage(ctx context.Context, body imapd.Body, msg *storepb.AddMessage) (*storepb.Result, error) {
	return s.Replica.AddMessage(ctx, body.(*replica.Upload), msg)
}

func (s imapStore) OpenBody(ctx context.Context, id store.BodyID) (imapd.BodyReader, error) {
	return s.Replica.OpenBody(ctx, id)
}

func (s imapStore) Watch(a store.AccountID, m store.MailboxID) imapd.Watch {
	return imapWatch{s.Replica.Watch(a, m)}
}

type imapWatch struct{ *replica.Watch }

func (w imapWatch) C() <-chan struct{} { return w.Watch.C }

type imapView struct{ *state.View }

func (v imapView) ChangesSince(a store.AccountID, m store.MailboxID, since store.ModSeq, f func(imapd.Change) bool) error {
	return v.View.ChangesSince(a, m, since, func(c state.Change) bool {
		return f(imapd.Change{UID: c.UID, ModSeq: c.ModSeq, Expunged: c.Kind == state.ChangeExpunged})
	})
}
