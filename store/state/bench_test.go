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

func benchmarkApply(b *testing.B, together int) {
	m, err := Open(Config{Dir: b.TempDir(), Blobs: blob.NewMemory(), Self: "s1"})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	incarnation := make([]byte, 16)
	seq := uint64(0)
	command := func(c *storepb.Command) Entry {
		seq++
		c.Version, c.Incarnation, c.Seq, c.Lowest = CommandVersion, incarnation, seq, max(1, seq-min(seq-1, uint64(together)))
		raw, err := marshal.Marshal(c)
		if err != nil {
			b.Fatal(err)
		}
		return Entry{Index: seq + 1, Term: 1, Command: raw}
	}
	apply := func(entries ...Entry) {
		if err := m.Apply(entries); err != nil {
			b.Fatal(err)
		}
	}
	mark := make([]byte, 16)
	servers := []*storepb.ConfiguredServer{{Id: "s1", Voter: true}, {Id: "s2", Voter: true}, {Id: "s3", Voter: true}}
	apply(Entry{Index: 1, Term: 1, Configuration: &storepb.LogPosition{ConfigurationIndex: 1, Servers: servers}})
	var acks []*storepb.Ack
	for _, s := range servers {
		apply(command(&storepb.Command{Op: &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: &storepb.Server{Id: s.Id, DataIncarnation: mark}}}}))
		acks = append(acks, &storepb.Ack{Server: s.Id, DataIncarnation: mark})
	}
	apply(command(&storepb.Command{Op: &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Domain: &storepb.Domain{Name: "example.test"}, Create: true}}}))
	apply(command(&storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: &storepb.Account{Address: "an@example.test"}, Create: true}}}))
	summary := make([]byte, 800)
	b.ResetTimer()
	for done := 0; done < b.N; {
		b.StopTimer()
		batch := make([]Entry, 0, together)
		for range min(together, b.N-done) {
			id := store.NewBodyID([32]byte{byte(seq), byte(seq >> 8), byte(seq >> 16), byte(seq >> 24)}, [8]byte{})
			batch = append(batch, command(&storepb.Command{Op: &storepb.Command_AddMessage{AddMessage: &storepb.AddMessage{Summary: summary,
				Body:    &storepb.BodyRef{Id: id[:], RawBytes: 20 << 10, EncodedBytes: 13 << 10, Quorum: acks, Configuration: 1, Epoch: 1},
				Targets: []*storepb.Target{{Account: 1}}}}}))
		}
		done += len(batch)
		b.StartTimer()
		apply(batch...)
	}
	b.StopTimer()
	if err := m.Check(); err != nil {
		b.Fatal(err)
	}
}
