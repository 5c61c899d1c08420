package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	stdsmtp "net/smtp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/protocol/smtp/smtpd"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// aloneLog is the log of a cluster of one: what is proposed is committed and applied at once.
type aloneLog struct {
	m     *state.Machine
	mu    sync.Mutex
	index uint64
}

func (l *aloneLog) apply(e state.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index++
	e.Index, e.Term = l.index, 1
	return l.m.Apply([]state.Entry{e})
}

func (l *aloneLog) Propose(_ context.Context, cmd []byte) error {
	return l.apply(state.Entry{Command: cmd})
}
func (l *aloneLog) ReadBarrier(context.Context) error { return nil }

// alone is the membership of a cluster of one.
type alone struct{}

func (alone) Voters() ([]store.ServerID, uint64) { return []store.ServerID{"s1"}, 1 }
func (alone) Servers() []store.ServerID          { return []store.ServerID{"s1"} }
func (alone) Call(context.Context, store.ServerID, string, []byte) ([]byte, error) {
	return nil, store.ErrUnavailable
}
func (alone) OpenStream(context.Context, store.ServerID, string) (net.Conn, error) {
	return nil, store.ErrUnavailable
}
func (alone) Handle(string, func(context.Context, store.ServerID, []byte) ([]byte, error)) {}
func (alone) HandleStream(string, func(context.Context, store.ServerID, net.Conn) error)   {}
func (alone) IsLeader() bool                                                               { return true }

// takes is the replica as smtpd asks it.
type takes struct{ *replica.Replica }

func (s takes) NewBody() (smtpd.Body, error) { return s.Replica.NewBody() }

func (s takes) AddMessage(ctx context.Context, body smtpd.Body, msg *storepb.AddMessage) (*storepb.Result, error) {
	return s.Replica.AddMessage(ctx, body.(*replica.Upload), msg)
}

type summaries struct{ *mime.Summarizer }

func (s summaries) Finish() ([]byte, error) { return s.Summary().Marshal(), nil }

// mailNode is a whole node but for the network between nodes.
type mailNode struct {
	*Directory
	r       *replica.Replica
	servers sync.WaitGroup
	ctx     context.Context
}

func newMailNode(t *testing.T) *mailNode {
	t.Helper()
	blobs := blob.NewMemory()
	m, err := state.Open(state.Config{Self: "s1", Blobs: blobs})
	must(t, err)
	log := &aloneLog{m: m}
	r, err := replica.New(replica.Config{Self: "s1", DataIncarnation: [16]byte{1}, Machine: m, Blobs: blobs, Log: log, Peers: alone{}, Name: "n1",
		FreeBytes: func() (int64, error) { return 1 << 40, nil }, SpoolDir: t.TempDir()})
	must(t, err)
	must(t, log.apply(state.Entry{Configuration: &storepb.LogPosition{ConfigurationIndex: 1, Servers: []*storepb.ConfiguredServer{{Id: "s1", Voter: true}}}}))
	d, err := New(Config{Store: r})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	n := &mailNode{Directory: d, r: r, ctx: ctx}
	n.servers.Go(func() {
		if err := r.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("replica: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		n.servers.Wait()

		if err := m.Check(); err != nil {
			t.Errorf("the state is broken: %v", err)
		}
		_ = m.Close()
	})
	n.waitReady(t)
	cheapPasswords(t, r)
	must(t, d.CreateDomain(ctx, "example.test", DomainChange{}))
	for _, who := range []string{"alice", "bob"} {
		if _, err := d.CreateAccount(ctx, who+"@example.test", who+"'s secret", AccountChange{}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n *mailNode) waitReady(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); n.r.Ready() != nil; <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %v", n.r.Ready())
		}
	}
}

func (n *mailNode) serve(t *testing.T, mode smtpd.Mode) string {
	t.Helper()
	srv, err := smtpd.New(smtpd.Config{Mode: mode, Hostname: "mx.example.test", AllowPlainAuth: true, Store: takes{n.r}, Resolver: n, Auth: n.SMTPAuth(),
		NewSummarizer: func() smtpd.Summarizer { return summaries{mime.NewSummarizer()} }})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	n.servers.Go(func() {
		if err := srv.Serve(n.ctx, l); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// inbox reads an account's whole INBOX.
func (n *mailNode) inbox(t *testing.T, address string) [][]byte {
	t.Helper()
	v := n.r.View()
	defer v.Close()
	a, err := v.AccountByAddress(address)
	must(t, err)
	box, err := v.MailboxByName(store.AccountID(a.GetId()), "INBOX")
	must(t, err)
	var ids []store.EmailID
	must(t, v.Entries(store.AccountID(a.GetId()), store.MailboxID(box.GetId()), 1, func(_ store.UID, e *storepb.Entry) bool {
		ids = append(ids, store.EmailID(e.GetEmail()))
		return true
	}))
	var list [][]byte
	for _, id := range ids {
		email, err := v.Email(id)
		must(t, err)
		r, err := n.r.OpenBody(t.Context(), store.BodyID(email.GetBodyId()))
		must(t, err)
		raw, err := io.ReadAll(io.NewSectionReader(r, 0, email.GetRawBytes()))
		must(t, err)

		_ = r.Close()
		list = append(list, raw)
	}
	return list
}

func TestMailIsThereAfter250(t *testing.T) {
	n := newMailNode(t)
	addr := n.serve(t, smtpd.MX)
	big := make([]byte, 600<<10)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(big)
	for i, body := range []string{"small\r\n.\r\n..\r\n", fmt.Sprintf("%x\r\n", big), ""} {
		msg := fmt.Sprintf("From: x@remote.example\r\nSubject: %d\r\n\r\n%s", i, body)
		must(t, stdsmtp.SendMail(addr, nil, "x@remote.example", []string{"alice@example.test", "bob@example.test", "alice+x@example.test"}, []byte(msg)))
		for _, who := range []string{"alice@example.test", "bob@example.test"} {
			got := n.inbox(t, who)
			if len(got) != i+1 {
				t.Fatalf("%s has %d messages after %d", who, len(got), i+1)
			}
			if !bytes.HasSuffix(got[i], []byte(msg)) || !bytes.HasPrefix(got[i], []byte("Return-Path: <x@remote.example>\r\nReceived: from ")) {
				t.Errorf("%s: message %d is not what was sent: %.300q", who, i, got[i])
			}
		}
	}
}

func TestSubmissionGoesTheWholeWay(t *testing.T) {
	n := newMailNode(t)
	addr := n.serve(t, smtpd.Submission)
	auth := func(password string) stdsmtp.Auth {
		return stdsmtp.PlainAuth("", "Alice@example.test", password, "127.0.0.1")
	}
	msg := []byte("From: Alice <alice@example.test>\r\n\r\nx\r\n")
	must(t, stdsmtp.SendMail(addr, auth("alice's secret"), "alice@example.test", []string{"bob@example.test"}, msg))
	if err := stdsmtp.SendMail(addr, auth("wrong"), "alice@example.test", []string{"bob@example.test"}, msg); err == nil || !strings.Contains(err.Error(), "5.7.8") {
		t.Errorf("a wrong password: %v", err)
	}
	if err := stdsmtp.SendMail(addr, auth("alice's secret"), "bob@example.test", []string{"bob@example.test"}, msg); err == nil || !strings.Contains(err.Error(), "5.7.1") {
		t.Errorf("another's name: %v", err)
	}
	if got := n.inbox(t, "bob@example.test"); len(got) != 1 {
		t.Errorf("%d messages", len(got))
	}
}

func TestQuotaIsToldToTheSender(t *testing.T) {
	n := newMailNode(t)
	addr := n.serve(t, smtpd.MX)
	must(t, n.SetAccount(t.Context(), "alice@example.test", AccountChange{QuotaBytes: ptr(int64(2000))}))
	msg := []byte("Subject: x\r\n\r\n" + strings.Repeat("0123456789\r\n", 200))
	if err := stdsmtp.SendMail(addr, nil, "x@remote.example", []string{"alice@example.test"}, msg); err == nil || !strings.Contains(err.Error(), "4.2.2") {
		t.Errorf("too large for the quota: %v", err)
	}
	must(t, stdsmtp.SendMail(addr, nil, "x@remote.example", []string{"alice@example.test"}, msg[:1700]))
	must(t, n.SetAccount(t.Context(), "alice@example.test", AccountChange{QuotaBytes: ptr(int64(1000))}))
	if err := stdsmtp.SendMail(addr, nil, "x@remote.example", []string{"alice@example.test"}, msg[:100]); err == nil || !strings.Contains(err.Error(), "4.2.2") {
		t.Errorf("a full mailbox: %v", err)
	}
}
