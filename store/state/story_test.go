package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/storepb"
)

// story is a random log, the same for the same seed: commands of every kind by three processes, some of them proposed twice or after
// they were given up, and changes of the configuration. Most are sensible, for ids are small and guessed; some are not.
type story struct {
	t       testing.TB
	r       *rand.Rand
	bodies  []sampleBody
	seqs    [3]uint64
	ids     [3][]byte // incarnations
	index   uint64
	nonce   uint64
	holders [][]byte // ids of bodies beside the log
	past    [][]byte // commands, some of which come again
}

// sampleBody is an encoded body.
type sampleBody struct {
	*blob.Encoded
	raw int64
}

func newStory(t testing.TB, seed uint64) *story {
	s := &story{t: t, r: rand.New(rand.NewPCG(seed, 7))}
	for i := range s.ids {
		s.ids[i] = bytes.Repeat([]byte{byte(i + 1)}, 16)
	}
	for i := range 8 {
		s.bodies = append(s.bodies, encodeBody(t, fmt.Sprintf("Subject: body %d\r\n\r\n%s\r\n", i, bytes.Repeat([]byte("text "), i*i*30))))
	}
	return s
}

func encodeBody(t testing.TB, text string) sampleBody {
	enc := blob.NewEncoder(t.TempDir())
	if _, err := io.WriteString(enc, text); err != nil {
		t.Fatal(err)
	}
	done, err := enc.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return sampleBody{done, int64(len(text))}
}

// ref makes a reference to an inline body under a new id.
func (s *story) ref() *storepb.BodyRef {
	s.nonce++
	body := s.bodies[s.r.IntN(len(s.bodies))]
	id := body.ID([8]byte(binary.BigEndian.AppendUint64(nil, s.nonce)))
	return &storepb.BodyRef{Id: id[:], RawBytes: body.raw, EncodedBytes: body.CompressedBytes, Inline: body.Bytes(), Epoch: uint64(1 + s.r.IntN(3))}
}

// beside makes a reference to a body that some servers are said to hold.
func (s *story) beside() *storepb.BodyRef {
	ref := s.ref()
	ref.Inline = nil
	for _, x := range servers {
		if s.r.IntN(4) > 0 {
			ref.Quorum = append(ref.Quorum, &storepb.Ack{Server: x.Id, DataIncarnation: disk(x.Id)})
		}
	}
	s.holders = append(s.holders, ref.Id)
	return ref
}

// begin is what every log begins with: three servers, a domain and three accounts.
func (s *story) begin() []Entry {
	out := []Entry{{Index: 1, Term: 1, Configuration: &storepb.LogPosition{ConfigurationIndex: 1, Servers: servers}}}
	s.index = 1
	for i, x := range servers {
		out = append(out, s.entry(s.command(i, &storepb.Command{Op: &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{
			Server: &storepb.Server{Id: x.Id, DataIncarnation: disk(x.Id), MaxVersion: 1, Boot: 1}}}})))
	}
	out = append(out, s.entry(s.command(0, &storepb.Command{Op: &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Create: true, Domain: &storepb.Domain{Name: "example.test"}}}})))
	for i := range 3 {
		a := &storepb.Account{Address: fmt.Sprintf("u%d@example.test", i+1)}
		out = append(out, s.entry(s.command(0, &storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Create: true, Account: a}}})))
	}
	return out
}

func (s *story) command(by int, c *storepb.Command) []byte {
	s.seqs[by]++
	seq := s.seqs[by]
	c.Version, c.Incarnation, c.Seq, c.Server = CommandVersion, s.ids[by], seq, servers[by].Id
	c.Lowest = seq - min(seq-1, uint64(s.r.IntN(6)))
	c.TimeUnixMs = 1_700_000_000_000 + int64(s.index)*1000
	raw, err := proto.Marshal(c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.past = append(s.past, raw)
	return raw
}

func (s *story) entry(raw []byte) Entry {
	s.index += 1 + uint64(s.r.IntN(20)/19) // Raft has entries of its own in between
	return Entry{Index: s.index, Term: 1 + s.index/100, Command: raw}
}

// next is the next entry.
func (s *story) next() Entry {
	switch s.r.IntN(40) {
	case 0: // proposed again, some of them long after
		return s.entry(s.past[len(s.past)-1-s.r.IntN(min(len(s.past), 20))])
	case 1:
		return s.entry(nil)
	case 2:
		e := s.entry(nil)
		list := append([]*storepb.ConfiguredServer{}, servers...)
		if s.r.IntN(2) == 0 {
			list = append(list, &storepb.ConfiguredServer{Id: "d"})
		}
		e.Configuration = &storepb.LogPosition{ConfigurationIndex: e.Index, Servers: list}
		return e
	}
	return s.entry(s.command(s.r.IntN(3), s.operation()))
}

func (s *story) account() uint64 { return uint64(1 + s.r.IntN(3)) }

// box guesses a mailbox: each account has six, made one account after the other, and the newer ones are anybody's.
func (s *story) box(account uint64) uint64 {
	if s.r.IntN(4) == 0 {
		return uint64(19 + s.r.IntN(10))
	}
	return 6*(account-1) + 1 + uint64(s.r.IntN(6))
}

func (s *story) uids() []byte {
	var set store.UIDSet
	for range 1 + s.r.IntN(2) {
		first := store.UID(1 + s.r.IntN(25))
		last := first + store.UID(s.r.IntN(5))
		if s.r.IntN(10) == 0 {
			last = 1<<32 - 1
		}
		set.AddRange(first, last)
	}
	return store.PackUIDs(set)
}

func (s *story) name() string {
	return []string{"a", "a/b", "a/b/c", "Work", "Trash", "inbox", "INBOX/x", "Caf\u00e9", "Cafe\u0301"}[s.r.IntN(9)]
}

func (s *story) server() string { return string(rune('a' + s.r.IntN(4))) }

func (s *story) keywords() []string {
	return [][]string{nil, {"$Junk"}, {"$junk", "$Forwarded"}, {"bad keyword"}}[s.r.IntN(4)]
}

func (s *story) operation() *storepb.Command {
	a := s.account()
	r := s.r
	switch r.IntN(36) {
	case 0, 1, 2, 3, 4, 5, 6, 7, 8, 9:
		m := &storepb.AddMessage{Body: s.ref(), Summary: []byte("summary"), QueueId: "Q1"}
		if r.IntN(4) == 0 {
			m.Body = s.beside()
		}
		for range 1 + r.IntN(2) {
			m.Targets = append(m.Targets, &storepb.Target{Account: s.account(), Flags: uint32(r.IntN(32)), Keywords: s.keywords(), EnforceQuota: r.IntN(2) == 0})
		}
		if r.IntN(4) == 0 {
			m.Targets[0].Mailbox = s.box(m.Targets[0].Account)
		}
		return &storepb.Command{Op: &storepb.Command_AddMessage{AddMessage: m}}
	case 10, 11, 12:
		return &storepb.Command{Op: &storepb.Command_StoreFlags{StoreFlags: &storepb.StoreFlags{Account: a, Mailbox: s.box(a), Uids: s.uids(), Mode: uint32(r.IntN(4)),
			Flags: uint32(r.IntN(64)), Keywords: s.keywords(), HasUnchangedSince: r.IntN(3) == 0, UnchangedSince: uint64(r.IntN(40))}}}
	case 13, 14:
		return &storepb.Command{Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: a, Mailbox: s.box(a), Uids: s.uids(), OnlyDeleted: r.IntN(2) == 0, All: r.IntN(10) == 0}}}
	case 15, 16, 17:
		return &storepb.Command{Op: &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: a, Mailbox: s.box(a), DestMailbox: s.box(a), Uids: s.uids(), Move: r.IntN(2) == 0}}}
	case 18:
		return &storepb.Command{Op: &storepb.Command_CreateMailbox{CreateMailbox: &storepb.CreateMailbox{Account: a, Name: s.name(), Subscribe: r.IntN(2) == 0}}}
	case 19:
		return &storepb.Command{Op: &storepb.Command_RenameMailbox{RenameMailbox: &storepb.RenameMailbox{Account: a, Mailbox: s.box(a), Name: s.name()}}}
	case 20:
		return &storepb.Command{Op: &storepb.Command_DeleteMailbox{DeleteMailbox: &storepb.DeleteMailbox{Account: a, Mailbox: s.box(a)}}}
	case 21:
		return &storepb.Command{Op: &storepb.Command_SetSubscribed{SetSubscribed: &storepb.SetSubscribed{Account: a, Name: s.name(), Subscribed: r.IntN(2) == 0}}}
	case 22:
		return &storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: &storepb.Account{Id: a, QuotaMessages: int64(r.IntN(60)), QuotaBytes: int64(r.IntN(200_000))}}}}
	case 23:
		if r.IntN(8) == 0 {
			return &storepb.Command{Op: &storepb.Command_RemoveAccount{RemoveAccount: &storepb.RemoveAccount{Account: 3}}}
		}
		return &storepb.Command{Op: &storepb.Command_PutCredential{PutCredential: &storepb.PutCredential{Account: a, Credential: &storepb.Credential{Id: s.server(), Argon2: "x"}}}}
	case 24:
		return &storepb.Command{Op: &storepb.Command_PutAlias{PutAlias: &storepb.PutAlias{Create: r.IntN(2) == 0, Alias: &storepb.Alias{Address: s.server() + "@example.test", Targets: []string{"u1@example.test"}}}}}
	case 25:
		return &storepb.Command{Op: &storepb.Command_RemoveAlias{RemoveAlias: &storepb.RemoveAlias{Address: s.server() + "@example.test"}}}
	case 26:
		return &storepb.Command{Op: &storepb.Command_PutSetting{PutSetting: &storepb.PutSetting{Name: "test." + s.server(), Value: s.name(), Reset_: r.IntN(3) == 0}}}
	}
	return s.clusterOperation()
}

func (s *story) clusterOperation() *storepb.Command {
	r := s.r
	hash := bytes.Repeat([]byte{byte(r.IntN(3))}, 32)
	switch r.IntN(13) {
	case 0:
		return &storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: uint64(r.IntN(2000))}}}
	case 1, 2:
		op := &storepb.Sweep{WindowMs: uint64(r.IntN(2) * 1000)}
		for range 20 {
			op.Emails = append(op.Emails, uint64(1+r.IntN(60)))
		}
		return &storepb.Command{Op: &storepb.Command_Sweep{Sweep: op}}
	case 3:
		return &storepb.Command{Op: &storepb.Command_HoldSweeps{HoldSweeps: &storepb.HoldSweeps{Id: hash[:16], ForMs: uint64(r.IntN(3) * 500), Renew: r.IntN(2) == 0}}}
	case 4:
		if r.IntN(10) == 0 {
			return &storepb.Command{Op: &storepb.Command_AdvanceEpoch{AdvanceEpoch: &storepb.AdvanceEpoch{From: uint64(1 + r.IntN(2))}}}
		}
		return &storepb.Command{Op: &storepb.Command_PutSecret{PutSecret: &storepb.PutSecret{Name: s.server(), Value: hash, Create: r.IntN(2) == 0}}}
	case 5:
		return &storepb.Command{Op: &storepb.Command_PutInvite{PutInvite: &storepb.PutInvite{SecretHash: hash, ExpiresTick: uint64(r.IntN(100_000))}}}
	case 6:
		id := s.server()
		return &storepb.Command{Op: &storepb.Command_ConsumeInvite{ConsumeInvite: &storepb.ConsumeInvite{SecretHash: hash, Server: id, Record: &storepb.Server{Id: id, DataIncarnation: disk(id), MaxVersion: 1}}}}
	case 7, 8:
		op := &storepb.Have{Server: s.server()}
		for range min(3, len(s.holders)) {
			op.Bodies = append(op.Bodies, s.holders[r.IntN(len(s.holders))])
		}
		if r.IntN(2) == 0 {
			return &storepb.Command{Op: &storepb.Command_Lost{Lost: &storepb.Lost{Server: op.Server, Bodies: op.Bodies}}}
		}
		return &storepb.Command{Op: &storepb.Command_Have{Have: op}}
	case 9:
		return &storepb.Command{Op: &storepb.Command_Reconfigure{Reconfigure: &storepb.Reconfigure{Id: uint64(r.IntN(3)), TargetVoters: []string{"a", "b", "d"}, End: r.IntN(2) == 0}}}
	case 10:
		return &storepb.Command{Op: &storepb.Command_RemoveServer{RemoveServer: &storepb.RemoveServer{Id: s.server()}}}
	case 11:
		return &storepb.Command{Op: &storepb.Command_RaiseVersion{RaiseVersion: &storepb.RaiseVersion{Version: uint32(r.IntN(3))}}}
	}
	// A process starts again under a new incarnation, and tells; what the old one has under way comes too late.
	by := r.IntN(3)
	id := servers[by].Id
	c := &storepb.Command{Op: &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: &storepb.Server{Id: id, DataIncarnation: disk(id), MaxVersion: 1}}}}
	s.ids[by] = bytes.Clone(s.ids[by])
	s.ids[by][1]++
	s.seqs[by] = 0
	return c
}

// cut cuts entries into batches at random.
func cut(r *rand.Rand, entries []Entry) (batches [][]Entry) {
	for len(entries) > 0 {
		n := min(len(entries), 1+r.IntN(40))
		batches = append(batches, entries[:n])
		entries = entries[n:]
	}
	return batches
}

// What a command does depends neither on where batches are cut, nor on the store below, nor on what is in the body store.
func TestStateDoesNotDependOnBatches(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range uint64(4) {
		s := newStory(t, seed+round)
		log := s.begin()
		for range 500 {
			log = append(log, s.next())
		}
		r := rand.New(rand.NewPCG(seed, round))
		single := make([][]Entry, len(log))
		for i := range log {
			single[i] = log[i : i+1]
		}
		var want string
		for name, run := range map[string]struct {
			dir     string
			batches [][]Entry
			blobs   func(int, blob.Store)
		}{
			"one by one": {"", single, nil},
			"cut":        {t.TempDir(), cut(r, log), nil},
			"all":        {"", [][]Entry{log}, nil},
			"rotten":     {"", cut(r, log), rot},
		} {
			blobs := blob.NewMemory()
			m, err := Open(Config{Dir: run.dir, Blobs: blobs, Self: "a"})
			if err != nil {
				t.Fatal(err)
			}
			for i, b := range run.batches {
				if err := m.Apply(b); err != nil {
					t.Fatalf("%s: batch %d: %v", name, i, err)
				}
				if run.blobs != nil {
					run.blobs(i, blobs)
				}
			}
			_, hash, err := m.Hash()
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Check(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if want == "" {
				want = hash
			} else if hash != want {
				t.Errorf("%s leads to the state %s, and another way to %s", name, hash, want)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// rot damages and deletes bodies of this node.
func rot(i int, b blob.Store) {
	_ = b.Each(func(id store.BodyID, _ uint64, _ int64) error {
		switch {
		case int(id[0])%3 == i%3:
			return b.(*blob.Memory).Damage(id)
		case int(id[0])%3 == 2:
			return b.Delete(id)
		}
		return nil
	})
}
