package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/storepb"
)

// TestInlineBody: a short body travels in its command, without a stream.
func TestInlineBody(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	raw := message(1000)
	_, msg, err := c.nodes[0].add(context.Background(), account, raw)
	if err != nil {
		t.Fatal(err)
	}
	if len(msg.Body.Inline) == 0 || len(msg.Body.Quorum) != 0 {
		t.Errorf("a short body is not inline: %d bytes, %d acknowledgements", len(msg.Body.Inline), len(msg.Body.Quorum))
	}
	c.everywhere()
	for _, n := range c.nodes {
		if got, err := n.read(store.BodyID(msg.Body.Id)); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%s: %d bytes, %v", n.id, len(got), err)
		}
		if n.puts.Load() != 0 {
			t.Errorf("%d streams were opened to %s", n.puts.Load(), n.id)
		}
	}
}

// TestB1Majority: a body beside the log is on a majority before its command is proposed: all voters if they are well, two if one is
// down; with two down nothing happens.
func TestB1Majority(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[0]
	raw := message(20_000)
	add := func() (*storepb.BodyRef, error) {
		_, msg, err := n.add(context.Background(), account, raw)
		return msg.Body, err
	}
	proposed := func() { // from within the log: at that moment a majority must have it
		c.mu.Lock()
		defer c.mu.Unlock()
		c.faults = func(int) fault { return fault{} }
	}
	proposed()
	ref, err := add()
	if err != nil || len(ref.Quorum) != 3 || ref.Configuration != 1 {
		t.Fatalf("all voters up: %v, %d acknowledgements", err, len(ref.GetQuorum()))
	}
	for i, p := range c.nodes {
		if !p.has(store.BodyID(ref.Id)) {
			t.Errorf("%s acknowledged a body that it does not have", p.id)
		}
		if p.puts.Load() > 1 {
			t.Errorf("%d streams to node %d", p.puts.Load(), i)
		}
	}
	for _, a := range ref.Quorum {
		if want := [16]byte{a.Server[1] - '0'}; [16]byte(a.DataIncarnation) != want {
			t.Errorf("acknowledgement of %s with the mark %x", a.Server, a.DataIncarnation)
		}
	}

	c.nodes[2].down.Store(true)
	if ref, err = add(); err != nil || len(ref.Quorum) != 2 {
		t.Fatalf("one voter down: %v, %d acknowledgements", err, len(ref.GetQuorum()))
	}
	c.nodes[1].down.Store(true)
	c.mu.Lock()
	before := len(c.entries)
	c.mu.Unlock()
	if _, err = add(); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("two voters down: %v, want unavailable", err)
	}
	c.mu.Lock()
	for _, e := range c.entries[before:] {
		if bytes.Contains(e.Command, []byte("\x82\x01")) && len(e.Command) > 10_000 {
			t.Error("a command was proposed without a majority")
		}
	}
	c.mu.Unlock()
}

// TestB1SlowVoterIsNotAwaited: a majority is enough; a voter that hangs delays by the straggler's wait only.
func TestB1SlowVoterIsNotAwaited(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	if err := c.nodes[2].receive.Acquire(context.Background(), c.nodes[2].cfg.Limits.ReceiveBytes); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	id := c.nodes[0].mustAdd(account, message(20_000))
	if d := time.Since(started); d > 2*time.Second {
		t.Errorf("took %v with a hung voter", d)
	}
	c.nodes[2].receive.Release(c.nodes[2].cfg.Limits.ReceiveBytes)
	c.wait("the slow voter to have it", func() bool { return c.nodes[2].has(id) && c.nodes[0].missing("n3") == 0 })
}

// TestB1RejectionIsTriedAnew: a quorum that is none when the command is applied is rejected; the body travels again under a new id.
func TestB1RejectionIsTriedAnew(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[0]
	c.nodes[2].down.Store(true)
	// This node believes, wrongly, that it is the only voter; then it learns better.
	all := c.voters
	c.mu.Lock()
	c.voters = all[:1]
	c.mu.Unlock()
	c.setFaults(func(int) fault {
		return fault{after: func() { c.mu.Lock(); c.voters = all; c.mu.Unlock() }}
	})
	n.cfg.Peers = onlySelf{n.cfg.Peers, n}
	_, msg, err := n.add(context.Background(), account, message(20_000))
	if err != nil {
		t.Fatal(err)
	}
	if len(msg.Body.Quorum) != 2 {
		t.Errorf("%d acknowledgements, want 2", len(msg.Body.Quorum))
	}
	ids := map[store.BodyID]bool{}
	if err := n.blobs.Each(func(id store.BodyID, _ uint64, _ int64) error { ids[id] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(ids) != 2 {
		t.Errorf("%d body ids, want that of the rejected and that of the second attempt", len(ids))
	}
	c.everywhere()
	if got := n.inbox(account).Messages; got != 1 {
		t.Errorf("%d messages, want 1", got)
	}
}

// onlySelf knows no members but the voters.
type onlySelf struct {
	Peers
	n *testNode
}

func (p onlySelf) Servers() []store.ServerID {
	ids, _ := p.n.Voters()
	return ids
}

// TestB3MissingBody: a node that was down applies the command, serves its readers through a holder, fetches the body and says so.
func TestB3MissingBody(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[2]
	n.down.Store(true)
	raw := message(300_000)
	id := c.nodes[0].mustAdd(account, raw)
	if err := n.ReadBarrier(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n.has(id) || c.nodes[0].missing("n3") != 1 {
		t.Fatal("the node that was down is not known to miss the body")
	}
	if _, err := n.read(id); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("no holder can be reached: %v, want unavailable", err)
	}
	// Stop the repair's way, not the reader's.
	n.down.Store(false)
	if got, err := n.read(id); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("through a holder: %d bytes, %v", len(got), err)
	}
	c.wait("the body to be fetched", func() bool { return n.has(id) && c.nodes[0].missing("n3") == 0 })
	if got, err := n.read(id); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("after the repair: %d bytes, %v", len(got), err)
	}
}

// TestUnknownBody: a body that no message has is not found, without asking anybody.
func TestUnknownBody(t *testing.T) {
	c := newTestCluster(t)
	if _, err := c.nodes[0].read(store.BodyID{1}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
}

// TestB6EachUploadHasItsOwnBody: the same bytes twice are two bodies, so that the end of one is not the end of the other.
func TestB6EachUploadHasItsOwnBody(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	raw := message(20_000)
	a, b := c.nodes[0].mustAdd(account, raw), c.nodes[1].mustAdd(account, raw)
	if a == b || a.Digest() != b.Digest() {
		t.Errorf("ids %v and %v", a, b)
	}
}

// TestB9CorruptBody: a flipped byte on one node is never served; the cluster is told and the copy is repaired from a peer.
func TestB9CorruptBody(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[1]
	raw := message(700_000)
	id := c.nodes[0].mustAdd(account, raw)
	c.wait("all copies", func() bool { return n.has(id) && c.nodes[2].has(id) })

	c.everywhere()
	if err := n.blobs.Damage(id); err != nil {
		t.Fatal(err)
	}
	if got, err := n.read(id); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("read of a corrupt body: %d bytes, %v", len(got), err)
	}
	c.wait("the repair", func() bool { return n.has(id) && c.nodes[0].missing("n2") == 0 })
	if err := n.blobs.Verify(id); err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	lost := 0
	for _, e := range c.entries {
		if op := decode(t, e.Command).GetLost(); op != nil && op.Server == "n2" {
			lost += len(op.Bodies)
		}
	}
	if lost != 1 {
		t.Errorf("%d bodies were declared lost, want 1, before the repair", lost)
	}
}

// TestB9ReaderChangesOver: rot that shows in the middle of a read is not the reader's matter.
func TestB9ReaderChangesOver(t *testing.T) {
	raw := message(1000)
	bad := &failingReader{Reader: readerOf(t, raw), from: 400}
	var used int
	b := &bodyReader{inner: bad, instead: func() (blob.Reader, error) { used++; return readerOf(t, raw), nil }}
	defer b.Close()
	got := make([]byte, 1000)
	if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, raw) || used != 1 {
		t.Errorf("read: %v, equal %v, other copies %d", err, bytes.Equal(got, raw), used)
	}
	b = &bodyReader{inner: &failingReader{Reader: readerOf(t, raw), from: 400}, instead: func() (blob.Reader, error) { return readerOf(t, raw), nil }}
	defer b.Close()
	var out bytes.Buffer
	if n, err := b.WriteTo(&out); err != nil || n != 1000 || !bytes.Equal(out.Bytes(), raw) {
		t.Errorf("write to: %d, %v", n, err)
	}
	b = &bodyReader{inner: bad, instead: func() (blob.Reader, error) { return nil, store.ErrUnavailable }}
	defer b.Close()
	if _, err := b.ReadAt(got, 0); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("no other copy: %v", err)
	}
}

func readerOf(t *testing.T, raw []byte) blob.Reader {
	t.Helper()
	e := blob.NewEncoder(t.TempDir())
	if _, err := e.Write(raw); err != nil {
		t.Fatal(err)
	}
	enc, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { enc.Close() })
	r, err := enc.OpenRaw()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// failingReader is corrupt from an offset on.
type failingReader struct {
	blob.Reader
	from int64
	pos  int64
}

func (f *failingReader) Seek(off int64, whence int) (int64, error) { f.pos = off; return off, nil }

func (f *failingReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= f.from {
		return f.Reader.ReadAt(p, off)
	}
	n, _ := f.Reader.ReadAt(p[:max(0, f.from-off)], off)
	return n, fmt.Errorf("frame: %w", blob.ErrCorrupt)
}

func (f *failingReader) WriteTo(w io.Writer) (int64, error) {
	b := make([]byte, max(0, f.from-f.pos))
	if _, err := f.Reader.ReadAt(b, f.pos); err != nil {
		return 0, err
	}
	n, err := w.Write(b)
	if err == nil {
		err = blob.ErrCorrupt
	}
	return int64(n), err
}

// TestCorruptSender: a receiver does not store, let alone acknowledge, what does not match its checksums.
func TestCorruptSender(t *testing.T) {
	c := newTestCluster(t)
	n := c.nodes[0]
	e := blob.NewEncoder(t.TempDir())
	if _, err := e.Write(message(20_000)); err != nil {
		t.Fatal(err)
	}
	enc, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	bad := bytes.Clone(enc.Bytes())
	bad[len(bad)/2] ^= 1
	id := enc.ID([8]byte{1})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := n.put(ctx, "n2", id, 0, bytesBody(bad)); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("got %v, want corrupt", err)
	}
	if c.nodes[1].has(id) {
		t.Error("a corrupt body was stored")
	}
	if _, err := n.put(ctx, "n2", id, 0, bytesBody(enc.Bytes())); err != nil {
		t.Errorf("the same stream, a good body: %v", err)
	}
	if c.nodes[1].puts.Load() != 1 {
		t.Errorf("%d streams, want one used again", c.nodes[1].puts.Load())
	}
}

type bytesBody []byte

func (b bytesBody) Open() *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

// TestUploadLimits: too many uploads, and too many bytes on their way, are refused at once, and room comes back.
func TestUploadLimits(t *testing.T) {
	c := newTestCluster(t, func(c *Config) { c.Limits.Uploads = 2; c.Limits.UploadBytes = 50_000 })
	account := c.account()
	n := c.nodes[0]
	a, err := n.NewBody()
	if err != nil {
		t.Fatal(err)
	}
	b, err := n.NewBody()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.NewBody(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("third upload: %v", err)
	}
	a.Abort()
	a.Abort()
	b.Abort()
	if err := n.uploads.load(40_000); err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.add(context.Background(), account, message(20_000)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("too many bytes on their way: %v", err)
	}
	n.uploads.unload(40_000)
	n.mustAdd(account, message(200_000)) // a single large one goes alone
	c.wait("all room", func() bool {
		n.uploads.mu.Lock()
		defer n.uploads.mu.Unlock()
		return n.uploads.n == 0 && n.uploads.bytes == 0
	})
}

// TestCheckpointBringsNoBodies: after a restore every live body is fetched, inline ones too.
func TestCheckpointBringsNoBodies(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[2]
	c.everywhere()
	n.holdApply(true)
	n.down.Store(true)
	bodies := []store.BodyID{c.nodes[0].mustAdd(account, message(100)), c.nodes[0].mustAdd(account, message(30_000))}
	_, _, r, err := c.nodes[0].machine.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := n.machine.Restore(r); err != nil {
		t.Fatal(err)
	}
	n.down.Store(false)
	c.wait("the bodies", func() bool { return n.has(bodies[0]) && n.has(bodies[1]) && !n.machine.NeedsAllBodies() })
	n.holdApply(false)
	c.wait("the end of the repair", func() bool {
		lacks, _, err := c.nodes[0].MissingAt(context.Background(), "n3")
		return err == nil && lacks == 0
	})
}

// TestJoinerFetchesWhatCameBeforeItWasAMember: between its checkpoint and its membership bodies go to the members only, and nobody notes that
// the newcomer lacks them.
func TestJoinerFetchesWhatCameBeforeItWasAMember(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[2]
	c.setMembers("n1", "n2")
	c.everywhere()
	n.holdApply(true)
	first := c.nodes[0].mustAdd(account, message(100))
	_, _, r, err := c.nodes[0].machine.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := n.machine.Restore(r); err != nil {
		t.Fatal(err)
	}
	c.wait("the bodies of the checkpoint", func() bool { return n.has(first) })
	second := c.nodes[0].mustAdd(account, message(30_000))
	n.holdApply(false)
	c.everywhere()
	if !n.machine.NeedsAllBodies() {
		t.Error("it thinks that it is whole before it is a member")
	}
	c.setMembers("n1", "n2", "n3")
	c.wait("everything", func() bool { return n.has(second) && !n.machine.NeedsAllBodies() })
	if lacks, _, err := c.nodes[0].MissingAt(context.Background(), "n3"); err != nil || lacks != 0 {
		t.Errorf("%d bodies missing, %v", lacks, err)
	}
}

// TestB4BodiesGoToTheTargetVoters: while the voters are being changed, a body needs a majority of those that are to vote too, also where
// one of them does not vote yet.
func TestB4BodiesGoToTheTargetVoters(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[0]
	c.mu.Lock()
	c.voters = c.voters[:1]
	c.mu.Unlock()
	op := &storepb.Reconfigure{Id: 1, TargetVoters: []string{"n1", "n3"}}
	if _, err := n.Propose(context.Background(), func(cmd *storepb.Command) { cmd.Op = &storepb.Command_Reconfigure{Reconfigure: op} }); err != nil {
		t.Fatal(err)
	}
	c.nodes[1].down.Store(true)
	if _, msg, err := n.add(context.Background(), account, message(20_000)); err != nil || len(msg.Body.Quorum) != 2 || !c.nodes[2].has(store.BodyID(msg.Body.Id)) {
		t.Errorf("both target voters up: %v, %d acknowledgements", err, len(msg.Body.GetQuorum()))
	}
	c.nodes[2].down.Store(true)
	if _, _, err := n.add(context.Background(), account, message(20_000)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("one of two target voters down: %v, want unavailable", err)
	}
}

// TestB4MissingAt: a server's own index tells what it lacks, not the state.
func TestB4MissingAt(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	id := c.nodes[0].mustAdd(account, message(30_000))
	c.wait("all copies", func() bool { return c.nodes[1].has(id) })
	c.everywhere()
	if lacks, _, err := c.nodes[0].MissingAt(context.Background(), "n2"); err != nil || lacks != 0 {
		t.Fatalf("%d, %v", lacks, err)
	}
	if err := c.nodes[1].blobs.Delete(id); err != nil {
		t.Fatal(err)
	}
	c.nodes[1].down.Store(true) // so that it cannot repair it
	c.nodes[1].cfg.Intervals.Missing = 50 * time.Millisecond
	if lacks, ids, err := c.nodes[1].MissingAt(context.Background(), "n2"); err != nil || lacks != 1 || len(ids) != 1 || ids[0] != id {
		t.Errorf("%d bodies missing, %v, %v; want 1", lacks, ids, err)
	}
}
