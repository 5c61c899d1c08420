package smtpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// fakeStore keeps messages in memory, and can be told to fail.
type fakeStore struct {
	mu       sync.Mutex
	messages []fakeMessage
	ready    error
	addErr   error
	codes    map[uint64]uint32 // of targets, by account
	hold     chan struct{}     // when set, AddMessage waits for it
	aborted  int
	room     int    // of each body in bytes; 0: no limit
	earlier  string // queue id under which the message was taken before
}

type fakeMessage struct {
	raw []byte
	msg *storepb.AddMessage
}

type fakeBody struct {
	bytes.Buffer
	s    *fakeStore
	done bool
}

func (b *fakeBody) Write(p []byte) (int, error) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if b.s.room > 0 && b.Len()+len(p) > b.s.room {
		return 0, fmt.Errorf("spool: %w", store.ErrNoSpace)
	}
	return b.Buffer.Write(p)
}

func (b *fakeBody) Abort() {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if !b.done {
		b.s.aborted++
	}
	b.done = true
}

func (s *fakeStore) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

func (s *fakeStore) setReady(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = err
}

func (s *fakeStore) NewBody() (Body, error) { return &fakeBody{s: s}, nil }

func (s *fakeStore) AddMessage(ctx context.Context, body Body, msg *storepb.AddMessage) (*storepb.Result, error) {
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := body.(*fakeBody)
	b.done = true
	if s.addErr != nil {
		return nil, s.addErr
	}
	s.messages = append(s.messages, fakeMessage{raw: bytes.Clone(b.Bytes()), msg: msg})
	res := &storepb.Result{QueueId: s.earlier}
	for _, t := range msg.Targets {
		res.Placed = append(res.Placed, &storepb.PlacedMessage{Account: t.Account, Code: s.codes[t.Account]})
	}
	return res, nil
}

func (s *fakeStore) stored() []fakeMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]fakeMessage(nil), s.messages...)
}

// fakeDirectory knows a few addresses at example.test.
type fakeDirectory struct {
	full map[store.AccountID]bool
	room map[store.AccountID]int64 // bytes, where there is a bound
	down bool
}

var fakeAccounts = map[string][]store.AccountID{
	"alice@example.test":      {1},
	"bob@example.test":        {2},
	"full@example.test":       {3},
	"alias@example.test":      {1},
	"team@example.test":       {1, 2},
	"postmaster@example.test": {1},
	"jörg@example.test":       {4},
	"an@ví-dụ.test":           {4},
	"away@example.test":       {5}, // suspended
	"list@example.test":       {1, 2},
}

// fakeForwards are addresses that lead elsewhere.
var fakeForwards = map[string][]string{
	"forward@example.test": {"f@elsewhere.example"},
	"list@example.test":    {"f@elsewhere.example", "g@refused.example"},
	"refused@example.test": {"g@refused.example"},
}

func (d *fakeDirectory) Resolve(_ context.Context, a smtp.Address) ([]state.Recipient, error) {
	if d.down {
		return nil, store.ErrUnavailable
	}
	if a.Domain != "example.test" && a.Domain != "ví-dụ.test" {
		return nil, ErrNotLocal
	}
	ids, ok := fakeAccounts[strings.ToLower(a.String())]
	if n, err := strconv.Atoi(strings.TrimPrefix(a.Local, "many-")); err == nil { // a group of n
		for i := range n {
			ids = append(ids, store.AccountID(100+i))
		}
		ok = true
	}
	if a.Local == "huge" {
		return nil, store.ErrTooLarge
	}
	var list []state.Recipient
	for _, id := range ids {
		list = append(list, state.Recipient{Account: id, Address: a.String(), Suspended: id == 5})
	}
	for _, address := range fakeForwards[a.Canonical()] {
		list, ok = append(list, state.Recipient{Address: address, Remote: true}), true
	}
	if !ok {
		return nil, store.ErrNotFound
	}
	return list, nil
}

func (d *fakeDirectory) Elsewhere(_ context.Context, a smtp.Address) error {
	switch a.Domain {
	case "refused.example":
		return errors.New("mail to refused.example is refused by a route")
	case "unknown.example":
		return store.ErrUnavailable
	}
	return nil
}

func (d *fakeDirectory) Postmaster(context.Context) ([]state.Recipient, error) {
	return []state.Recipient{{Account: 1, Address: "postmaster@example.test"}}, nil
}

func (d *fakeDirectory) Room(_ context.Context, id store.AccountID, size int64) error {
	if room, bound := d.room[id]; d.full[id] || bound && size > room {
		return store.ErrOverQuota
	}
	return nil
}

func (d *fakeDirectory) Authenticate(_ context.Context, _ netip.Addr, user, password string) (Identity, error) {
	if d.down {
		return Identity{}, store.ErrUnavailable
	}
	if user != "alice@example.test" || password != "secret" {
		return Identity{}, store.ErrDenied
	}
	return Identity{Account: 1, Address: user}, nil
}

func (d *fakeDirectory) SCRAMParameters(_ context.Context, user string) ([]byte, int, error) {
	if d.down {
		return nil, 0, store.ErrUnavailable
	}
	return []byte("0123456789abcdef"), sasl.MinSCRAMIterations, nil
}

func (d *fakeDirectory) FinishSCRAM(_ context.Context, _ netip.Addr, user string, proves func(sasl.SCRAM) bool) (Identity, error) {
	keys, err := sasl.DeriveSCRAM("secret", []byte("0123456789abcdef"), sasl.MinSCRAMIterations)
	if err != nil {
		return Identity{}, err
	}
	if !proves(keys) || user != "alice@example.test" {
		return Identity{}, store.ErrDenied
	}
	return Identity{Account: 1, Address: user}, nil
}

func (d *fakeDirectory) MaySendAs(_ context.Context, id store.AccountID, a smtp.Address) (bool, error) {
	return id == 1 && (a.String() == "alice@example.test" || a.String() == "alias@example.test"), nil
}

// fakeSummary fails on nothing.
type fakeSummary struct{ n int64 }

func (f *fakeSummary) Write(b []byte) (int, error) { f.n += int64(len(b)); return len(b), nil }
func (f *fakeSummary) Finish() ([]byte, error)     { return []byte("summary"), nil }

var errFake = errors.New("a fault of the test's")

// mustAll reads all of r.
func mustAll(t *testing.T, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
