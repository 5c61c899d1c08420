package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/directory"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// stateAlone is a real state in memory, with a log of its own that always agrees. Its clock stands where the test puts it.
type stateAlone struct {
	test    *testing.T
	m       *state.Machine
	index   uint64
	now     time.Time
	barrier error
	lose    func(*storepb.Command) // runs before a command is applied: what came in between
}

// The servers of stateAlone: this one, and another that owns entries, too.
const (
	serverA = "aaaaaaaaaaaaaaaa"
	serverB = "bbbbbbbbbbbbbbbb"
)

func newStateAlone(t *testing.T) *stateAlone {
	t.Helper()
	m, err := state.Open(state.Config{Self: serverA, Blobs: blob.NewMemory(), OnFatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	s := &stateAlone{test: t, m: m, now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)}
	t.Cleanup(func() {
		if err := m.Check(); err != nil {
			t.Errorf("the state is broken: %v", err)
		}
		_ = m.Close()
	})
	s.apply(state.Entry{Configuration: &storepb.LogPosition{ConfigurationIndex: 1, Servers: []*storepb.ConfiguredServer{{Id: serverA, Voter: true}, {Id: serverB, Voter: true}}}})
	for id, name := range map[string]string{serverA: "n1", serverB: "n2"} {
		s.do(&storepb.Command{Op: &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: &storepb.Server{Id: id, Name: name,
			DataIncarnation: []byte(id), MaxVersion: state.CommandVersion}}}})
	}
	s.do(&storepb.Command{Op: &storepb.Command_RaiseVersion{RaiseVersion: &storepb.RaiseVersion{Version: state.CommandVersion}}})
	return s
}

func (s *stateAlone) apply(e state.Entry) {
	s.test.Helper()
	s.index++
	e.Index, e.Term = s.index, 1
	if err := s.m.Apply([]state.Entry{e}); err != nil {
		s.test.Fatal(err)
	}
}

// propose applies a command; its server is this one, unless the command names another.
func (s *stateAlone) propose(c *storepb.Command) (*storepb.Result, error) {
	s.test.Helper()
	incarnation := [16]byte([]byte("0123456789abcdef"))
	seq := s.index + 1
	c.Version, c.Incarnation, c.Seq, c.Lowest, c.TimeUnixMs = state.CommandVersion, incarnation[:], seq, seq, s.now.UnixMilli()
	if c.Server == "" {
		c.Server = serverA
	}
	raw, err := proto.Marshal(c)
	if err != nil {
		s.test.Fatal(err)
	}
	s.apply(state.Entry{Command: raw})
	res, ok := s.m.LookupResult(incarnation, seq)
	if !ok {
		return nil, fmt.Errorf("no result of %d", seq)
	}
	return res, state.ResultError(res)
}

func (s *stateAlone) do(c *storepb.Command) *storepb.Result {
	s.test.Helper()
	res, err := s.propose(c)
	if err != nil {
		s.test.Fatal(err)
	}
	return res
}

func (s *stateAlone) Propose(_ context.Context, fill func(*storepb.Command)) (*storepb.Result, error) {
	c := &storepb.Command{}
	fill(c)
	if lose := s.lose; lose != nil {
		s.lose = nil
		lose(c)
	}
	return s.propose(c)
}

func (s *stateAlone) ReadBarrier(context.Context) error   { return s.barrier }
func (s *stateAlone) View() *state.View                   { return s.m.View() }
func (s *stateAlone) OnCredentials(func(store.AccountID)) {}
func (s *stateAlone) OnSettings(func())                   {}

// account makes an@example.test and so on.
func (s *stateAlone) account(address string) uint64 {
	s.test.Helper()
	if v := s.m.View(); true {
		_, err := v.Domain(domainPart(address))
		v.Close()
		if err != nil {
			s.do(&storepb.Command{Op: &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Domain: &storepb.Domain{Name: domainPart(address)}, Create: true}}})
		}
	}
	return s.do(&storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: &storepb.Account{Address: address}, Create: true}}}).Id
}

// queued is a message for the queues.
type queued struct {
	id, from, server string
	to               []*storepb.QueueEntry
	accounts         []uint64
	origin           *storepb.Origin
}

func remoteEntry(addresses ...string) (out []*storepb.QueueEntry) {
	for _, a := range addresses {
		out = append(out, &storepb.QueueEntry{Queue: uint32(store.QueueRemote), Address: a})
	}
	return out
}

func (s *stateAlone) send(q queued) *storepb.Result {
	s.test.Helper()
	enc := blob.NewEncoder(s.test.TempDir())
	text := "Subject: " + q.id + "\r\n\r\nx\r\n"
	if _, err := io.WriteString(enc, text); err != nil {
		s.test.Fatal(err)
	}
	done, err := enc.Finish()
	if err != nil {
		s.test.Fatal(err)
	}
	nonce := [store.NonceBytes]byte{byte(s.index), byte(s.index >> 8), byte(s.index >> 16)}
	id := done.ID(nonce)
	if q.origin == nil {
		q.origin = &storepb.Origin{Listener: "mx", Client: "192.0.2.7", Helo: "mx.there.test", MessageId: "<" + q.id + "@there.test>"}
	}
	add := &storepb.AddMessage{Body: &storepb.BodyRef{Id: id[:], RawBytes: int64(len(text)), EncodedBytes: done.CompressedBytes, Inline: done.Bytes(), Epoch: 1}, Summary: []byte("x"),
		QueueId: q.id, EnvelopeFrom: q.from, Queued: q.to, Origin: q.origin, Envelope: &storepb.Envelope{Ret: "HDRS", EightBit: true}}
	for _, a := range q.accounts {
		add.Targets = append(add.Targets, &storepb.Target{Account: a})
	}
	return s.do(&storepb.Command{Server: q.server, Op: &storepb.Command_AddMessage{AddMessage: add}})
}

// attempt tries an entry of this server's, and ends the attempt.
func (s *stateAlone) attempt(message uint64, number uint32, o *storepb.QueueOutcome) {
	s.test.Helper()
	v := s.m.View()
	e, err := v.QueueEntry(message, number)
	v.Close()
	if err != nil {
		s.test.Fatal(err)
	}
	ref := &storepb.QueueRef{Message: message, Number: number, Epoch: e.Epoch}
	s.do(&storepb.Command{Server: e.Owner, Op: &storepb.Command_QueueAttempt{QueueAttempt: &storepb.QueueAttempt{Refs: []*storepb.QueueRef{ref}}}})
	o.Ref = ref
	s.do(&storepb.Command{Server: e.Owner, Op: &storepb.Command_QueueOutcomes{QueueOutcomes: &storepb.QueueOutcomes{Outcomes: []*storepb.QueueOutcome{o}}}})
}

func (s *stateAlone) entry(message uint64, number uint32) *storepb.QueueEntry {
	s.test.Helper()
	v := s.m.View()
	defer v.Close()
	e, err := v.QueueEntry(message, number)
	if err != nil {
		s.test.Fatal(err)
	}
	return e
}

// officeLine is the command line against an office with a state of its own: no process, no network between nodes.
type officeLine struct {
	commandLine
	*stateAlone
	office  *office
	dataDir string
}

func newOfficeLine(t *testing.T) *officeLine {
	t.Helper()
	s := newStateAlone(t)
	dir := t.TempDir()
	key, err := newKeyMaterial(randomKey())
	if err != nil {
		t.Fatal(err)
	}
	secrets := &secretsKey{}
	secrets.key.Store(key)
	o := &office{store: s, self: serverA, secrets: secrets, now: func() time.Time { return s.now }, log: slog.New(slog.DiscardHandler)}
	srv, err := admin.New(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d, err := directory.New(directory.Config{Store: s, Seal: secrets.seal, Now: o.now})
	if err != nil {
		t.Fatal(err)
	}
	o.register(srv)
	d.Register(srv)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(dir, "node.toml")
	text := fmt.Sprintf("name = \"n1\"\nhostname = \"n1.example.test\"\ndata_dir = %q\n\n[listeners]\nadmin = %q\n", dir, l.Addr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &officeLine{commandLine: commandLine{t, file}, stateAlone: s, office: o, dataDir: dir}
}
