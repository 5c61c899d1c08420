package state

import (
	"fmt"
	"testing"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/storepb"
)

// BenchmarkApply compares one command a batch with 64 of them, on disk: what sixty-four clients at once bring about.
func BenchmarkApply(b *testing.B) {
	for _, together := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", together), func(b *testing.B) { benchmarkApply(b, together) })
	}
}

// BenchmarkExpunge expunges messages on disk, each with an email of its own, MaxMessages at a time: how long one of the largest commands
// holds up all others.
func BenchmarkExpunge(b *testing.B) {
	benchmarkMany(b, func(box uint64, from, to store.UID) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: 1, Mailbox: box, Uids: store.PackUIDs(store.UIDSet{{First: from, Last: to}})}}}
	})
}

// BenchmarkMove is BenchmarkExpunge for MOVE.
func BenchmarkMove(b *testing.B) {
	benchmarkMany(b, func(box uint64, from, to store.UID) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: 1, Mailbox: box, DestMailbox: box + 1, Move: true, Uids: store.PackUIDs(store.UIDSet{{First: from, Last: to}})}}}
	})
}

// mailRoom is a machine on disk with one account, which is fed by hand.
type mailRoom struct {
	b    *testing.B
	m    *Machine
	seq  uint64
	acks []*storepb.Ack
}

func newMailRoom(b *testing.B) *mailRoom {
	m, err := Open(Config{Dir: b.TempDir(), Blobs: blob.NewMemory(), Self: "s1"})
	if err != nil {
		b.Fatal(err)
	}
	r := &mailRoom{b: b, m: m}
	mark := make([]byte, 16)
	servers := []*storepb.ConfiguredServer{{Id: "s1", Voter: true}, {Id: "s2", Voter: true}, {Id: "s3", Voter: true}}
	r.apply(Entry{Index: 1, Term: 1, Configuration: &storepb.LogPosition{ConfigurationIndex: 1, Servers: servers}})
	for _, s := range servers {
		r.apply(r.command(&storepb.Command{Op: &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: &storepb.Server{Id: s.Id, DataIncarnation: mark}}}}))
		r.acks = append(r.acks, &storepb.Ack{Server: s.Id, DataIncarnation: mark})
	}
	r.apply(r.command(&storepb.Command{Op: &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Domain: &storepb.Domain{Name: "example.test"}, Create: true}}}))
	r.apply(r.command(&storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: &storepb.Account{Address: "an@example.test"}, Create: true}}}))
	return r
}

// command is the next entry; up to 64 may be in one batch.
func (r *mailRoom) command(c *storepb.Command) Entry {
	r.seq++
	c.Version, c.Incarnation, c.Seq, c.Lowest = CommandVersion, make([]byte, 16), r.seq, max(1, r.seq-min(r.seq-1, 64))
	raw, err := marshal.Marshal(c)
	if err != nil {
		r.b.Fatal(err)
	}
	return Entry{Index: r.seq + 1, Term: 1, Command: raw}
}

func (r *mailRoom) apply(entries ...Entry) {
	if err := r.m.Apply(entries); err != nil {
		r.b.Fatal(err)
	}
}

// deliveries are n messages of 20 KiB for the account's INBOX.
func (r *mailRoom) deliveries(n int) []Entry {
	batch := make([]Entry, 0, n)
	for range n {
		id := store.NewBodyID([32]byte{byte(r.seq), byte(r.seq >> 8), byte(r.seq >> 16), byte(r.seq >> 24)}, [8]byte{})
		batch = append(batch, r.command(&storepb.Command{Op: &storepb.Command_AddMessage{AddMessage: &storepb.AddMessage{Summary: make([]byte, 800),
			Body:    &storepb.BodyRef{Id: id[:], RawBytes: 20 << 10, EncodedBytes: 13 << 10, Quorum: r.acks, Configuration: 1, Epoch: 1},
			Targets: []*storepb.Target{{Account: 1}}}}}))
	}
	return batch
}

func (r *mailRoom) close() {
	if err := r.m.Check(); err != nil {
		r.b.Error(err)
	}
	if err := r.m.Close(); err != nil {
		r.b.Error(err)
	}
}

func benchmarkApply(b *testing.B, together int) {
	r := newMailRoom(b)
	defer r.close()
	b.ResetTimer()
	for done := 0; done < b.N; {
		b.StopTimer()
		batch := r.deliveries(min(together, b.N-done))
		done += len(batch)
		b.StartTimer()
		r.apply(batch...)
	}
	b.StopTimer()
}

func benchmarkMany(b *testing.B, command func(box uint64, from, to store.UID) *storepb.Command) {
	r := newMailRoom(b)
	defer r.close()
	for done := 0; done < b.N; done += 64 {
		r.apply(r.deliveries(min(64, b.N-done))...)
	}
	v := r.m.View()
	mb, err := v.MailboxByName(1, inbox)
	v.Close()
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for first := 1; first <= b.N; first += MaxMessages {
		r.apply(r.command(command(mb.Id, store.UID(first), store.UID(min(b.N, first+MaxMessages-1)))))
	}
	b.StopTimer()
}
