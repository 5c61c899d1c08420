package state

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/storepb"
)

// bench is a machine that is fed by hand. Every test ends with Check.
type bench struct {
	*Machine
	t     *testing.T
	index uint64
	seq   uint64
	blobs blob.Store
}

var servers = []*storepb.ConfiguredServer{{Id: "a", Voter: true}, {Id: "b", Voter: true}, {Id: "c", Voter: true}}

func newBench(t *testing.T, dir string) *bench {
	t.Helper()
	blobs := blob.NewMemory()
	m, err := Open(Config{Dir: dir, Blobs: blobs, Self: "a", OnFatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Machine: m, t: t, blobs: blobs}
	t.Cleanup(func() {
		if err := m.Check(); err != nil {
			t.Error(err)
		}
		m.Close()
	})
	return b.found()
}

// found makes a cluster of three.
func (b *bench) found() *bench {
	b.t.Helper()
	b.index = 1
	if err := b.Apply([]Entry{{Index: 1, Term: 1, Configuration: &storepb.LogPosition{ConfigurationIndex: 1, Servers: servers}}}); err != nil {
		b.t.Fatal(err)
	}
	for _, s := range servers {
		b.do(&storepb.Command{Op: &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: &storepb.Server{Id: s.Id, DataIncarnation: disk(s.Id)}}}})
	}
	return b
}

func disk(id string) []byte { return bytes.Repeat([]byte(id), 16) }

var incarnation = bytes.Repeat([]byte{7}, 16)

func (b *bench) command(c *storepb.Command) []byte {
	b.seq++
	c.Version, c.Incarnation, c.Seq, c.Lowest, c.TimeUnixMs = CommandVersion, incarnation, b.seq, b.seq, 1_700_000_000_000+int64(b.seq)
	raw, err := proto.Marshal(c)
	if err != nil {
		b.t.Fatal(err)
	}
	return raw
}

func (b *bench) apply(raw []byte) *storepb.Result {
	b.t.Helper()
	b.index++
	if err := b.Apply([]Entry{{Index: b.index, Term: 1, Command: raw}}); err != nil {
		b.t.Fatal(err)
	}
	c := &storepb.Command{}
	if err := proto.Unmarshal(raw, c); err != nil {
		b.t.Fatal(err)
	}
	res, _ := b.LookupResult([16]byte(c.Incarnation), c.Seq)
	return res
}

// try applies a command and returns what it was answered.
func (b *bench) try(c *storepb.Command) (*storepb.Result, error) {
	b.t.Helper()
	res := b.apply(b.command(c))
	return res, ResultError(res)
}

func (b *bench) do(c *storepb.Command) *storepb.Result {
	b.t.Helper()
	res, err := b.try(c)
	if err != nil {
		b.t.Fatal(err)
	}
	return res
}

func (b *bench) account(address string) uint64 {
	b.t.Helper()
	_, _ = b.try(&storepb.Command{Op: &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Create: true, Domain: &storepb.Domain{Name: domainOf(address)}}}})
	return b.do(&storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Create: true, Account: &storepb.Account{Address: address}}}}).Id
}

// body makes an inline body of its own.
func (b *bench) body(text string) *storepb.BodyRef {
	b.t.Helper()
	enc := blob.NewEncoder(b.t.TempDir())
	if _, err := io.WriteString(enc, text); err != nil {
		b.t.Fatal(err)
	}
	done, err := enc.Finish()
	if err != nil {
		b.t.Fatal(err)
	}
	var nonce [store.NonceBytes]byte
	nonce[0], nonce[1] = byte(b.seq), byte(b.seq>>8)
	id := done.ID(nonce)
	return &storepb.BodyRef{Id: id[:], RawBytes: int64(len(text)), EncodedBytes: done.CompressedBytes, Inline: done.Bytes(), Epoch: 1}
}

// beside makes a reference to a body that those servers are said to hold.
func (b *bench) beside(holders ...string) *storepb.BodyRef {
	id := store.NewBodyID(sha256.Sum256(fmt.Append(nil, b.seq)), [store.NonceBytes]byte{1})
	ref := &storepb.BodyRef{Id: id[:], RawBytes: 50000, EncodedBytes: 30000, Epoch: 1}
	for _, h := range holders {
		ref.Quorum = append(ref.Quorum, &storepb.Ack{Server: h, DataIncarnation: disk(h)})
	}
	return ref
}

func add(ref *storepb.BodyRef, accounts ...uint64) *storepb.Command {
	m := &storepb.AddMessage{Body: ref, Summary: []byte("summary")}
	for _, a := range accounts {
		m.Targets = append(m.Targets, &storepb.Target{Account: a, EnforceQuota: true})
	}
	return &storepb.Command{Op: &storepb.Command_AddMessage{AddMessage: m}}
}

func (b *bench) inbox(account uint64) *storepb.Mailbox {
	b.t.Helper()
	v := b.View()
	defer v.Close()
	mb, err := v.MailboxByName(store.AccountID(account), "inbox")
	if err != nil {
		b.t.Fatal(err)
	}
	return mb
}

func TestAddMessageAssignsNextUID(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	for want := uint32(1); want <= 3; want++ {
		res := b.do(add(b.body("hello"), an))
		if got := res.Placed[0].Uid; got != want {
			t.Errorf("UID %d, want %d", got, want)
		}
	}
	if mb := b.inbox(an); mb.Messages != 3 || mb.Unseen != 3 || mb.UidNext != 4 {
		t.Errorf("the mailbox says %v", mb)
	}
}

func TestRepeatedCommandChangesNothing(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	raw := b.command(add(b.body("hello"), an))
	first := b.apply(raw)
	again := b.apply(raw)
	if !proto.Equal(first, again) {
		t.Errorf("a repeated command answers %v, first %v", again, first)
	}
	if mb := b.inbox(an); mb.Messages != 1 {
		t.Errorf("%d messages after a repeated command", mb.Messages)
	}
	b.do(add(b.body("other"), an)) // its lowest passes the first one
	b.apply(raw)
	if mb := b.inbox(an); mb.Messages != 2 {
		t.Errorf("a command that was given up was executed: %d messages", mb.Messages)
	}
}

func TestRetiredIncarnationExecutesNothing(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	of := func(start byte, seq uint64, c *storepb.Command) *storepb.Result {
		t.Helper()
		c.Version, c.Server, c.Incarnation, c.Seq, c.Lowest = CommandVersion, "b", bytes.Repeat([]byte{start}, 16), seq, seq
		raw, err := proto.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return b.apply(raw)
	}
	register := func() *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: &storepb.Server{Id: "b", DataIncarnation: disk("b")}}}}
	}
	for start := range byte(2) {
		if res := of(100+start, 1, register()); res.GetIndex() == 0 || res.Code != 0 {
			t.Fatalf("start %d registers: %v", start, res)
		}
	}
	of(100, 2, add(b.body("late"), an))
	of(101, 2, add(b.body("of the new start"), an))
	if mb := b.inbox(an); mb.Messages != 1 {
		t.Errorf("%d messages, want the new start's alone", mb.Messages)
	}
}

func TestUnknownCommandStopsTheNode(t *testing.T) {
	b := newBench(t, "")
	for name, raw := range map[string][]byte{
		"newer version": b.command(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{}}}),
		"no operation":  b.command(&storepb.Command{}),
		"rubbish":       []byte("\xff\xff\xff"),
	} {
		if name == "newer version" {
			c := &storepb.Command{}
			if err := proto.Unmarshal(raw, c); err != nil {
				t.Fatal(err)
			}
			c.Version = CommandVersion + 1
			raw, _ = proto.Marshal(c)
		}
		if err := b.Apply([]Entry{{Index: b.index + 1, Term: 1, Command: raw}}); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
}

// B1: Apply rejects a body that is on no majority of the voters, or whose holders' disks are others now.
func TestB1BodyMustBeOnAMajority(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	if _, err := b.try(add(b.beside("a"), an)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a body on one of three voters: %v", err)
	}
	stale := b.beside("a", "b")
	stale.Quorum[1].DataIncarnation = disk("z")
	if _, err := b.try(add(stale, an)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a body on a disk that is gone: %v", err)
	}
	b.do(add(b.beside("a", "b"), an))
	b.do(&storepb.Command{Op: &storepb.Command_Reconfigure{Reconfigure: &storepb.Reconfigure{Id: 1, TargetVoters: []string{"c", "d", "e"}}}})
	if _, err := b.try(add(b.beside("a", "b"), an)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a body on no majority of the target voters: %v", err)
	}
}

// B3: who is not known to hold a body is noted until it says so.
func TestB3MissingBodiesAreNotedUntilHad(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	ref := b.beside("a", "b")
	b.do(add(ref, an))
	missing := func(id store.ServerID) int {
		v := b.View()
		defer v.Close()
		list, err := v.Missing(id, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if missing("a") != 0 || missing("c") != 1 {
		t.Errorf("a misses %d, c misses %d", missing("a"), missing("c"))
	}
	b.do(&storepb.Command{Op: &storepb.Command_Have{Have: &storepb.Have{Server: "c", Bodies: [][]byte{ref.Id}}}})
	b.do(&storepb.Command{Op: &storepb.Command_Lost{Lost: &storepb.Lost{Server: "a", Bodies: [][]byte{ref.Id}}}})
	if missing("a") != 1 || missing("c") != 0 {
		t.Errorf("after have and lost a misses %d, c misses %d", missing("a"), missing("c"))
	}
}

// B5: the data of a server never change under one id.
func TestB5ReplacedDiskNeedsANewID(t *testing.T) {
	b := newBench(t, "")
	if _, err := b.try(&storepb.Command{Op: &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: &storepb.Server{Id: "a", DataIncarnation: disk("q")}}}}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a replaced disk under the old id: %v", err)
	}
}

// B6: a body id belongs to one transaction.
func TestB6BodyIDIsUsedOnce(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	ref := b.body("hello")
	b.do(add(ref, an))
	if _, err := b.try(add(ref, an)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a second message with the same body id: %v", err)
	}
}

// B7: a body without references stays until a sweep, and a late upload is rejected.
func TestB7SweepDropsOnlyWhatNothingShows(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	ref := b.body("hello")
	b.do(add(ref, an))
	mb := b.inbox(an)
	v := b.View()
	e, err := v.Entry(store.AccountID(an), store.MailboxID(mb.Id), 1)
	v.Close()
	if err != nil {
		t.Fatal(err)
	}
	sweep := &storepb.Command{Op: &storepb.Command_Sweep{Sweep: &storepb.Sweep{Emails: []uint64{e.Email}}}}
	live := func() bool {
		v := b.View()
		defer v.Close()
		_, err := v.BodyEmail(store.BodyID(ref.Id))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	b.do(sweep)
	if !live() {
		t.Fatal("a sweep dropped a message that is shown")
	}
	b.do(&storepb.Command{Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: an, Mailbox: mb.Id, All: true}}})
	if !live() {
		t.Fatal("an expunge dropped the body before its sweep")
	}
	b.do(sweep)
	if live() {
		t.Error("the sweep left the body")
	}
	for from := range uint64(2) {
		b.do(&storepb.Command{Op: &storepb.Command_AdvanceEpoch{AdvanceEpoch: &storepb.AdvanceEpoch{From: from + 1}}})
	}
	if _, err := b.try(add(b.body("late"), an)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a body of an old epoch: %v", err)
	}
}

func TestQuotaRefusesSomeRecipientsOnly(t *testing.T) {
	b := newBench(t, "")
	an, binh := b.account("an@example.test"), b.account("binh@example.test")
	b.do(&storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: &storepb.Account{Id: an, QuotaMessages: 1}}}})
	b.do(add(b.body("one"), an, binh))
	res := b.do(add(b.body("two"), an, binh))
	if !errors.Is(CodeError(res.Placed[0].Code), store.ErrOverQuota) || res.Placed[1].Code != 0 {
		t.Errorf("placed %v", res.Placed)
	}
	if _, err := b.try(add(b.body("three"), an)); !errors.Is(err, store.ErrOverQuota) {
		t.Errorf("a message for a full account only: %v", err)
	}
}

func TestResolveFollowsAliasesGroupsDetailAndCatchAll(t *testing.T) {
	b := newBench(t, "")
	an, binh := b.account("an@example.test"), b.account("binh@example.test")
	alias := func(address string, targets ...string) {
		b.do(&storepb.Command{Op: &storepb.Command_PutAlias{PutAlias: &storepb.PutAlias{Create: true, Alias: &storepb.Alias{Address: address, Targets: targets}}}})
	}
	alias("all@example.test", "an@example.test", "binh@example.test", "loop@example.test")
	alias("loop@example.test", "all@example.test")
	b.do(&storepb.Command{Op: &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Domain: &storepb.Domain{Name: "example.test", CatchAll: "binh@example.test"}}}})
	for _, c := range []struct {
		address string
		want    []uint64
	}{
		{"an@example.test", []uint64{an}},
		{"an+tag@example.test", []uint64{an}},
		{"all@example.test", []uint64{an, binh}},
		{"whoever@example.test", []uint64{binh}},
		{"an@elsewhere.test", nil},
	} {
		v := b.View()
		got, err := v.Resolve(c.address)
		v.Close()
		if len(got) != len(c.want) || (err != nil) != (c.want == nil) {
			t.Errorf("%s leads to %v (%v), want %v", c.address, got, err, c.want)
			continue
		}
		for i := range got {
			if uint64(got[i].Account) != c.want[i] {
				t.Errorf("%s leads to %v, want %v", c.address, got, c.want)
			}
		}
	}
}

// random applies a stream of commands, the same for the same seed.
func (b *bench) random(r *rand.Rand, n int) {
	an, binh := b.account("an@example.test"), b.account("binh@example.test")
	who := func() uint64 { return []uint64{an, binh}[r.IntN(2)] }
	some := func() []byte {
		first := store.UID(1 + r.IntN(20))
		return store.PackUIDs(store.UIDSet{{First: first, Last: first + store.UID(r.IntN(5))}})
	}
	for range n {
		a := who()
		v := b.View()
		boxes, err := v.Mailboxes(store.AccountID(a))
		v.Close()
		if err != nil {
			b.t.Fatal(err)
		}
		box := func() uint64 { return boxes[r.IntN(len(boxes))].Id }
		switch r.IntN(9) {
		case 0, 1, 2:
			_, _ = b.try(add(b.body(fmt.Sprint("message ", r.Uint64())), who(), who()))
		case 3:
			_, _ = b.try(&storepb.Command{Op: &storepb.Command_StoreFlags{StoreFlags: &storepb.StoreFlags{Account: a, Mailbox: box(), Uids: some(), Mode: uint32(r.IntN(3)), Flags: uint32(r.IntN(32)), Keywords: []string{"$x"}}}})
		case 4:
			_, _ = b.try(&storepb.Command{Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: a, Mailbox: box(), Uids: some(), OnlyDeleted: r.IntN(2) == 0}}})
		case 5:
			_, _ = b.try(&storepb.Command{Op: &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: a, Mailbox: box(), DestMailbox: box(), Uids: some(), Move: r.IntN(2) == 0}}})
		case 6:
			_, _ = b.try(&storepb.Command{Op: &storepb.Command_CreateMailbox{CreateMailbox: &storepb.CreateMailbox{Account: a, Name: fmt.Sprintf("box %d/sub", r.IntN(4))}}})
		case 7:
			_, _ = b.try(&storepb.Command{Op: &storepb.Command_RenameMailbox{RenameMailbox: &storepb.RenameMailbox{Account: a, Mailbox: box(), Name: fmt.Sprintf("renamed %d", r.IntN(4))}}})
		case 8:
			_, _ = b.try(&storepb.Command{Op: &storepb.Command_DeleteMailbox{DeleteMailbox: &storepb.DeleteMailbox{Account: a, Mailbox: box()}}})
		}
	}
}

func TestSameCommandsMakeTheSameState(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	memory, disk := newBench(t, ""), newBench(t, t.TempDir())
	memory.random(rand.New(rand.NewPCG(seed, 0)), 400)
	disk.random(rand.New(rand.NewPCG(seed, 0)), 400)
	_, a, err := memory.Hash()
	if err != nil {
		t.Fatal(err)
	}
	if _, b, err := disk.Hash(); err != nil || a != b {
		t.Errorf("hashes %s and %s (%v)", a, b, err)
	}
}

func TestCheckpointCarriesTheWholeState(t *testing.T) {
	from := newBench(t, t.TempDir())
	from.random(rand.New(rand.NewPCG(1, 2)), 200)
	pos, size, r, err := from.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err != nil || int64(len(raw)) != size {
		t.Fatalf("the checkpoint has %d bytes and says %d (%v)", len(raw), size, err)
	}
	dir := t.TempDir()
	to := newBench(t, dir)
	damaged := bytes.Clone(raw)
	damaged[len(damaged)/2] ^= 1
	if err := to.Restore(bytes.NewReader(damaged)); err == nil {
		t.Error("a damaged checkpoint was taken in")
	}
	if err := to.Restore(bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	_, a, _ := from.Hash()
	if _, b, _ := to.Hash(); a != b || to.Position().Index != pos.Index {
		t.Errorf("hash %s at %d, want %s at %d", b, to.Position().Index, a, pos.Index)
	}
	if !to.NeedsAllBodies() {
		t.Error("a restored state is said to have its bodies")
	}
}
