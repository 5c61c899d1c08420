package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// oneNode is a cluster of one node without a log, which is a Source.
type oneNode struct {
	t     *testing.T
	m     *state.Machine
	blobs *blob.Memory
	inbox uint64

	mu    sync.Mutex
	index uint64 // guarded by mu, and orders commands

	failBodies func(page int) error // fails a request for bodies
	pages      int
	onHold     func()
	clockJumps bool // at each page, by more than a hold lasts
}

func newNode(t *testing.T) *oneNode {
	n := &oneNode{t: t, blobs: blob.NewMemory()}
	var err error
	if n.m, err = state.Open(state.Config{Blobs: n.blobs, Self: "a"}); err != nil {
		t.Fatal(err)
	}
	n.m.OnApplied(func(a state.Applied) {
		for _, id := range a.Dropped {
			if err := n.blobs.Delete(id); err != nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(func() {
		if err := errors.Join(n.m.Check(), n.m.Close()); err != nil {
			t.Error(err)
		}
	})
	n.do(&storepb.Command{Op: &storepb.Command_PutSecret{PutSecret: &storepb.PutSecret{Name: "ca.key", Value: []byte("secret")}}})
	n.do(&storepb.Command{Op: &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Create: true, Domain: &storepb.Domain{Name: "example.test"}}}})
	n.do(&storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Create: true, Account: &storepb.Account{Address: "an@example.test"}}}})
	n.inbox = 1
	return n
}

// try applies a command.
func (n *oneNode) try(c *storepb.Command) (*storepb.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index++
	c.Version, c.Incarnation, c.Seq, c.Lowest = 1, bytes.Repeat([]byte{1}, 16), n.index, n.index
	raw, err := proto.Marshal(c)
	if err != nil {
		return nil, err
	}
	if err := n.m.Apply([]state.Entry{{Index: n.index, Term: 1, Command: raw}}); err != nil {
		return nil, err
	}
	res, _ := n.m.LookupResult([16]byte(c.Incarnation), c.Seq)
	return res, state.ResultError(res)
}

func (n *oneNode) do(c *storepb.Command) *storepb.Result {
	n.t.Helper()
	res, err := n.try(c)
	if err != nil {
		n.t.Error(err)
	}
	return res
}

// add delivers a message.
func (n *oneNode) add(text string) *storepb.PlacedMessage {
	n.t.Helper()
	enc := blob.NewEncoder(n.t.TempDir())
	if _, err := io.WriteString(enc, text); err != nil {
		n.t.Fatal(err)
	}
	done, err := enc.Finish()
	if err != nil {
		n.t.Fatal(err)
	}
	id := done.ID([8]byte{1})
	ref := &storepb.BodyRef{Id: id[:], RawBytes: int64(len(text)), EncodedBytes: done.CompressedBytes, Inline: done.Bytes(), Epoch: 1}
	return n.do(&storepb.Command{Op: &storepb.Command_AddMessage{AddMessage: &storepb.AddMessage{Body: ref, Targets: []*storepb.Target{{Account: 1}}}}}).Placed[0]
}

// lose expunges a message, and tries to sweep it.
func (n *oneNode) lose(p *storepb.PlacedMessage) {
	n.do(&storepb.Command{Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: 1, Mailbox: n.inbox, Uids: store.PackUIDs(store.UIDSet{{First: store.UID(p.Uid), Last: store.UID(p.Uid)}})}}})
	if _, err := n.try(&storepb.Command{Op: &storepb.Command_Sweep{Sweep: &storepb.Sweep{Emails: []uint64{p.Email}}}}); err != nil && !errors.Is(err, store.ErrConflict) {
		n.t.Error(err)
	}
}

func (n *oneNode) Hold(_ context.Context, id [16]byte, keep time.Duration, renew bool) error {
	_, err := n.try(&storepb.Command{Op: &storepb.Command_HoldSweeps{HoldSweeps: &storepb.HoldSweeps{Id: id[:], ForMs: uint64(keep.Milliseconds()), Renew: renew}}})
	if n.onHold != nil {
		n.onHold()
	}
	return err
}

func (n *oneNode) Checkpoint(context.Context) (io.ReadCloser, error) {
	_, _, r, err := n.m.Checkpoint()
	return r, err
}

func (n *oneNode) Bodies(ctx context.Context, ids []store.BodyID) (io.ReadCloser, error) {
	n.pages++
	if n.clockJumps {
		n.do(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: uint64(2 * holdFor.Milliseconds())}}})
	}
	if n.failBodies != nil {
		if err := n.failBodies(n.pages); err != nil {
			return nil, err
		}
	}
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(SendBodies(ctx, w, ids, func(_ context.Context, id store.BodyID) (io.ReadCloser, int64, error) { return n.blobs.OpenEncoded(id) }))
	}()
	return r, nil
}

var quiet = slog.New(slog.DiscardHandler)

// mail lists what a machine shows: UIDs, flags, and the bytes of each message.
func mail(t *testing.T, m *state.Machine, bodies blob.Store) map[store.UID]string {
	t.Helper()
	v := m.View()
	defer v.Close()
	out := map[store.UID]string{}
	var bad error
	if err := v.Entries(1, 1, 1, func(uid store.UID, e *storepb.Entry) bool {
		email, err := v.Email(store.EmailID(e.Email))
		if err != nil {
			bad = err
			return false
		}
		r, err := bodies.Open(store.BodyID(email.BodyId))
		if err != nil {
			bad = err
			return false
		}
		defer r.Close()
		raw, err := io.ReadAll(r)
		out[uid], bad = fmt.Sprint(e.Flags, e.Modseq, string(raw)), err
		return err == nil
	}); err != nil || bad != nil {
		t.Fatal(err, bad)
	}
	return out
}

// restored restores a backup and opens what came of it.
func restored(t *testing.T, dir string) (*state.Machine, *blob.Disk) {
	t.Helper()
	to := t.TempDir()
	target := Target{StateDir: filepath.Join(to, "state"), BlobDir: filepath.Join(to, "blobs"), ClusterID: "new", DropSecrets: []string{"ca.key"}, Logger: quiet}
	if _, err := Restore(t.Context(), dir, target); err != nil {
		t.Fatal(err)
	}
	bodies, err := blob.Open(blob.Config{Dir: target.BlobDir})
	if err != nil {
		t.Fatal(err)
	}
	m, err := state.Open(state.Config{Dir: target.StateDir, Blobs: bodies, Self: "z"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Check(), m.Close(), bodies.Close()); err != nil {
			t.Error(err)
		}
	})
	return m, bodies
}

// B8: while the bodies are copied, mail comes, goes and is swept as fast as it can. The backup is whole all the same, and holds the mail of
// one moment, byte for byte.
func TestB8BackupIsWholeWhileSweepsRace(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	n := newNode(t)
	dir := t.TempDir()
	var placed []*storepb.PlacedMessage
	for i := range 700 {
		placed = append(placed, n.add(fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("x", r.IntN(2000)))))
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	var once sync.Once
	n.onHold = func() { // from the first moment on
		once.Do(func() {
			go func() {
				defer close(ended)
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					k := r.IntN(len(placed))
					n.lose(placed[k])
					placed[k] = n.add(fmt.Sprintf("Subject: new %d\r\n\r\n", i))
				}
			}()
		})
	}
	report, err := Take(t.Context(), n, dir, quiet)
	close(stop)
	<-ended
	if err != nil {
		t.Fatal(err)
	}
	m, err := Verify(t.Context(), dir)
	if err != nil || m.Bodies < 700 || report.Copied < 700 {
		t.Fatalf("the backup holds %d bodies, %d copied: %v", m.Bodies, report.Copied, err)
	}
	// What the state was at that moment, from the checkpoint itself.
	want, err := state.Open(state.Config{Blobs: blob.NewMemory(), Self: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	f, err := os.Open(filepath.Join(dir, m.State))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := want.Restore(f); err != nil {
		t.Fatal(err)
	}
	got, bodies := restored(t, dir)
	have, expected := mail(t, got, bodies), mail(t, want, bodies)
	if len(have) != 700 {
		t.Errorf("%d messages, want 700", len(have))
	}
	for uid, x := range expected {
		if have[uid] != x {
			t.Errorf("UID %d is another message", uid)
		}
	}
}

// A restored cluster is another one, with the same mail; what it gives out next nobody has seen.
func TestRestoredClusterIsAnotherOne(t *testing.T) {
	n := newNode(t)
	n.do(&storepb.Command{Op: &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: &storepb.Server{Id: "a", DataIncarnation: make([]byte, 16)}}}})
	n.add("one")
	dir := t.TempDir()
	if _, err := Take(t.Context(), n, dir, quiet); err != nil {
		t.Fatal(err)
	}
	n.add("after the backup")
	m, bodies := restored(t, dir)
	v, old := m.View(), n.m.View()
	defer v.Close()
	defer old.Close()
	before, err := old.Mailbox(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	after, err := v.Mailbox(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if after.UidValidity != before.UidValidity || after.UidNext < before.UidNext || after.HighestModseq < before.HighestModseq || len(mail(t, m, bodies)) != 1 {
		t.Errorf("the mailbox was %v and is %v", before, after)
	}
	if _, err := v.Secret("ca.key"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the old cluster's key: %v", err)
	}
	servers, err := v.Servers()
	if err != nil || len(servers) != 0 {
		t.Errorf("the old cluster's servers: %v, %v", servers, err)
	}
	cr, err := v.Cluster()
	if err != nil || cr.ClusterId != "new" || m.Position().Index != 0 || m.NeedsAllBodies() {
		t.Errorf("%v at %d, lacks bodies: %v (%v)", cr, m.Position().Index, m.NeedsAllBodies(), err)
	}
	// Its log begins anew.
	if err := m.Apply([]state.Entry{{Index: 1, Term: 1, Configuration: &storepb.LogPosition{ConfigurationIndex: 1, Servers: []*storepb.ConfiguredServer{{Id: "z", Voter: true}}}}}); err != nil || m.Position().Index != 1 {
		t.Errorf("the new log's first entry: at %d, %v", m.Position().Index, err)
	}
}

func TestTakeCopiesOnlyWhatIsNew(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	first := n.add("one")
	n.add("two")
	if _, err := Take(t.Context(), n, dir, quiet); err != nil {
		t.Fatal(err)
	}
	n.lose(first)
	n.add("three")
	report, err := Take(t.Context(), n, dir, quiet)
	if err != nil || report.Copied != 1 || report.Dropped != 1 || report.Bodies != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	if list, err := filepath.Glob(filepath.Join(dir, statePrefix+"*")); err != nil || len(list) != 1 {
		t.Errorf("states: %v, %v", list, err)
	}
	if _, err := Verify(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

// What interrupts a Take leaves the backup before it, whole; the next one goes on from there.
func TestInterruptedTakeLeavesTheOldBackup(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	if _, err := Verify(t.Context(), dir); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an empty folder: %v", err)
	}
	n.add("old")
	if _, err := Take(t.Context(), n, dir, quiet); err != nil {
		t.Fatal(err)
	}
	before, err := ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2*page + 1 {
		n.add(fmt.Sprint("new ", i))
	}
	broken := errors.New("the line broke")
	n.pages, n.failBodies = 0, func(p int) error {
		if p > 1 {
			return broken
		}
		return nil
	}
	if _, err := Take(t.Context(), n, dir, quiet); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	if m, err := Verify(t.Context(), dir); err != nil || m != before {
		t.Errorf("the backup is now %+v (%v), was %+v", m, err, before)
	}
	n.failBodies = nil
	report, err := Take(t.Context(), n, dir, quiet)
	if err != nil || report.Copied != page+1 {
		t.Errorf("the next one copied %d, want %d (%v)", report.Copied, page+1, err)
	}
	if _, err := Verify(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

// A hold that lapses while bodies are copied spoils the backup, and says so.
func TestB8LapsedHoldIsNoBackup(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	n.add("one")
	n.clockJumps = true
	if _, err := Take(t.Context(), n, dir, quiet); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := ReadManifest(dir); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("there is a backup: %v", err)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	n := newNode(t)
	good := t.TempDir()
	for i := range 3 {
		n.add(fmt.Sprint("message ", i))
	}
	m, err := Take(t.Context(), n, good, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(dir string) error{
		"manifest": func(dir string) error { return flip(filepath.Join(dir, manifestFile), 30) },
		"state":    func(dir string) error { return flip(filepath.Join(dir, m.State), 300) },
		"cut":      func(dir string) error { return os.Truncate(filepath.Join(dir, m.State), m.StateBytes-1) },
		"no state": func(dir string) error { return os.Remove(filepath.Join(dir, m.State)) },
		"body":     func(dir string) error { return flip(filepath.Join(dir, bodiesDir, "seg-0000000000000001"), 400) },
		"bodies":   func(dir string) error { return os.RemoveAll(filepath.Join(dir, bodiesDir)) },
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
			t.Fatal(err)
		}
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(t.Context(), dir); err == nil {
			t.Errorf("%s: the damage was not found", name)
		}
		to := t.TempDir()
		if _, err := Restore(t.Context(), dir, Target{StateDir: filepath.Join(to, "s"), BlobDir: filepath.Join(to, "b")}); err == nil {
			t.Errorf("%s: a damaged backup was restored", name)
		}
	}
}

func flip(path string, at int) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	raw[at] ^= 1
	return os.WriteFile(path, raw, 0o600)
}
