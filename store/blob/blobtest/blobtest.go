package blobtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
)

// Body is a body with its container.
type Body struct {
	ID      store.BodyID
	Epoch   uint64
	Raw     []byte
	Encoded []byte
}

// Make makes a body of a length from a seed. Every other one compresses.
func Make(t testing.TB, seed uint64, size int) Body {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, uint64(size)))
	raw := make([]byte, size)
	for i := range raw {
		if raw[i] = byte(rng.Uint32()); seed%2 == 0 {
			raw[i] = "etaoin shrdlu\r\n\x00"[raw[i]%16]
		}
	}
	e := blob.NewEncoder(t.TempDir())
	defer e.Close()
	if _, err := e.Write(raw); err != nil {
		t.Fatal(err)
	}
	encoded, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	defer encoded.Close()
	container, err := io.ReadAll(encoded.Open())
	if err != nil {
		t.Fatal(err)
	}
	var nonce [store.NonceBytes]byte
	binary.BigEndian.PutUint64(nonce[:], seed)
	return Body{ID: encoded.ID(nonce), Epoch: seed%5 + 1, Raw: raw, Encoded: container}
}

// Put puts a body.
func Put(s blob.Store, b Body, sync bool) error {
	return s.Put(context.Background(), b.ID, b.Epoch, bytes.NewReader(b.Encoded), int64(len(b.Encoded)), sync)
}

// Check tells what is wrong with a stored body.
func Check(s blob.Store, b Body) error {
	r, err := s.Open(b.ID)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if !bytes.Equal(got, b.Raw) {
		return fmt.Errorf("body %v: %d wrong bytes were served", b.ID, len(got))
	}
	return nil
}

// Subject is a store under test.
type Subject struct {
	blob.Store
	// Damage makes a body's stored bytes wrong.
	Damage func(store.BodyID) error
}

// Test runs the suite. open makes an empty store, which the suite closes.
func Test(t *testing.T, open func(t *testing.T) Subject) {
	for name, test := range map[string]func(*testing.T, Subject){
		"BodyIsReadBack":             readBack,
		"ContainerIsReadBack":        containerReadBack,
		"AbsentBodyIsNotFound":       absent,
		"PutIsIdempotent":            idempotent,
		"SyncCountsPositions":        positions,
		"DeletedBodyIsGone":          deleted,
		"EachEnumerates":             each,
		"BadContainersAreRefused":    refused,
		"DamagedBodyCountsAsMissing": damaged,
		"CompactKeepsLiveBodies":     compacts,
		"ConcurrentPutsAndReads":     concurrent,
		"CancelledContextEndsWork":   cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			test(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, s blob.Store, id store.BodyID, want bool) {
	t.Helper()
	got, err := s.Has(id)
	if err != nil || got != want {
		t.Errorf("Has(%v) = %v, %v; want %v", id, got, err, want)
	}
}

var sizes = []int{0, 1, 100, 5000, blob.FrameBytes - 1, blob.FrameBytes, blob.FrameBytes + 1, 3*blob.FrameBytes + 7}

func readBack(t *testing.T, s Subject) {
	for i, size := range sizes {
		for seed := range uint64(2) {
			b := Make(t, uint64(i)*2+seed, size)
			must(t, Put(s, b, true))
			has(t, s, b.ID, true)
			must(t, Check(s, b))
			must(t, s.Verify(b.ID))
			pieces(t, s, b)
		}
	}
}

// pieces reads a body in all ways.
func pieces(t *testing.T, s Subject, b Body) {
	t.Helper()
	r, err := s.Open(b.ID)
	must(t, err)
	defer r.Close()
	if r.Size() != int64(len(b.Raw)) {
		t.Fatalf("size %d, want %d", r.Size(), len(b.Raw))
	}
	rng := rand.New(rand.NewPCG(1, uint64(len(b.Raw))))
	for range 10 {
		from := rng.IntN(len(b.Raw) + 1)
		n := rng.IntN(len(b.Raw) - from + 1)
		p := make([]byte, n)
		if got, err := r.ReadAt(p, int64(from)); err != nil || got != n || !bytes.Equal(p, b.Raw[from:from+n]) {
			t.Fatalf("ReadAt(%d, %d) = %d, %v", n, from, got, err)
		}
	}
	if n, err := r.ReadAt(make([]byte, 10), r.Size()-3); len(b.Raw) >= 3 && (n != 3 || err != io.EOF) {
		t.Errorf("ReadAt over the end: %d, %v", n, err)
	}
	if pos, err := r.Seek(-int64(len(b.Raw)/2), io.SeekEnd); err != nil || pos != int64(len(b.Raw)-len(b.Raw)/2) {
		t.Fatalf("Seek: %d, %v", pos, err)
	}
	var rest bytes.Buffer
	if _, err := r.WriteTo(&rest); err != nil || !bytes.Equal(rest.Bytes(), b.Raw[len(b.Raw)-len(b.Raw)/2:]) {
		t.Errorf("WriteTo gave %d bytes, %v", rest.Len(), err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read at the end: %d, %v", n, err)
	}
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Error("a seek before the beginning worked")
	}
}

func containerReadBack(t *testing.T, s Subject) {
	for i, size := range sizes {
		b := Make(t, uint64(i), size)
		must(t, Put(s, b, false))
		r, n, err := s.OpenEncoded(b.ID)
		must(t, err)
		got, err := io.ReadAll(r)
		must(t, err)
		must(t, r.Close())
		if n != int64(len(b.Encoded)) || !bytes.Equal(got, b.Encoded) {
			t.Errorf("container of %d bytes, said %d, want %d", len(got), n, len(b.Encoded))
		}
	}
}

func absent(t *testing.T, s Subject) {
	id := Make(t, 1, 10).ID
	has(t, s, id, false)
	_, errOpen := s.Open(id)
	_, _, errEncoded := s.OpenEncoded(id)
	for name, err := range map[string]error{"Open": errOpen, "OpenEncoded": errEncoded, "Verify": s.Verify(id)} {
		if !errors.Is(err, blob.ErrNotFound) || !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", name, err)
		}
	}
	must(t, s.Delete(id))
}

func idempotent(t *testing.T, s Subject) {
	b := Make(t, 2, 3000)
	must(t, Put(s, b, false))
	before := s.Stats()
	b.Epoch += 7
	must(t, Put(s, b, true))
	after := s.Stats()
	if after.Bodies != 1 || after.TotalBytes != before.TotalBytes || after.Puts != 1 {
		t.Errorf("stats after a second Put: %+v", after)
	}
	must(t, s.Each(func(_ store.BodyID, epoch uint64, _ int64) error {
		if epoch != b.Epoch-7 {
			t.Errorf("epoch %d, want the first one, %d", epoch, b.Epoch-7)
		}
		return nil
	}))
	must(t, Check(s, b))
}

func positions(t *testing.T, s Subject) {
	must(t, Put(s, Make(t, 1, 100), false))
	if s.AppendedPos() == 0 || s.SyncedPos() == s.AppendedPos() {
		t.Errorf("after a Put without sync: appended %d, synced %d", s.AppendedPos(), s.SyncedPos())
	}
	must(t, s.Sync())
	if s.SyncedPos() != s.AppendedPos() {
		t.Errorf("after Sync: appended %d, synced %d", s.AppendedPos(), s.SyncedPos())
	}
	must(t, Put(s, Make(t, 2, 100), true))
	if s.SyncedPos() != s.AppendedPos() {
		t.Errorf("after a syncing Put: appended %d, synced %d", s.AppendedPos(), s.SyncedPos())
	}
	fsyncs := s.Stats().Fsyncs
	must(t, s.Sync())
	if now := s.Stats().Fsyncs; now != fsyncs {
		t.Errorf("a Sync of nothing did %d fsyncs", now-fsyncs)
	}
}

func deleted(t *testing.T, s Subject) {
	a, b := Make(t, 1, 1000), Make(t, 2, 1000)
	must(t, Put(s, a, true))
	must(t, Put(s, b, true))
	r, err := s.Open(a.ID)
	must(t, err)
	must(t, s.Delete(a.ID))
	has(t, s, a.ID, false)
	if err := Check(s, a); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("deleted body: %v", err)
	}
	must(t, Check(s, b))
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, a.Raw) {
		t.Errorf("an open reader broke: %v", err)
	}
	must(t, r.Close())
	must(t, Put(s, a, true))
	must(t, Check(s, a))
}

func each(t *testing.T, s Subject) {
	want := map[store.BodyID]Body{}
	for seed := range uint64(40) {
		b := Make(t, seed, 200)
		want[b.ID] = b
		must(t, Put(s, b, false))
	}
	var last store.BodyID
	must(t, s.Each(func(id store.BodyID, epoch uint64, n int64) error {
		b, ok := want[id]
		if !ok || epoch != b.Epoch || n != int64(len(b.Encoded)) {
			t.Errorf("Each: %v epoch %d bytes %d, want %d and %d", id, epoch, n, b.Epoch, len(b.Encoded))
		}
		if bytes.Compare(last[:], id[:]) >= 0 {
			t.Errorf("Each: %v after %v", id, last)
		}
		last = id
		delete(want, id)
		return nil
	}))
	if len(want) != 0 {
		t.Errorf("Each missed %d bodies", len(want))
	}
	stop := errors.New("stop")
	if err := s.Each(func(store.BodyID, uint64, int64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Each: %v, want the callback's error", err)
	}
}

func refused(t *testing.T, s Subject) {
	b := Make(t, 2, 2*blob.FrameBytes+100)
	other := Make(t, 4, 100)
	put := func(encoded []byte, size int) error {
		return s.Put(context.Background(), b.ID, 1, bytes.NewReader(encoded), int64(size), true)
	}
	for at := 0; at < len(b.Encoded); at += 1 + len(b.Encoded)/200 {
		bad := bytes.Clone(b.Encoded)
		bad[at] ^= 4
		if err := put(bad, len(bad)); !errors.Is(err, blob.ErrCorrupt) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("bit flipped in byte %d: %v", at, err)
		}
	}
	n := len(b.Encoded)
	for name, err := range map[string]error{
		"short":           put(b.Encoded[:n-5], n),
		"announced short": put(b.Encoded, n-5),
		"announced long":  put(append(bytes.Clone(b.Encoded), 0), n+1),
		"empty":           put(nil, 0),
		"other body":      put(other.Encoded, len(other.Encoded)),
	} {
		if !errors.Is(err, blob.ErrCorrupt) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := put(nil, -1); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("negative size: %v", err)
	}
	has(t, s, b.ID, false)
	must(t, put(b.Encoded, n))
	must(t, Check(s, b))
}

func damaged(t *testing.T, s Subject) {
	a, b := Make(t, 1, 5000), Make(t, 2, 5000)
	must(t, Put(s, a, true))
	must(t, Put(s, b, true))
	must(t, s.Damage(a.ID))
	if err := Check(s, a); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("damaged body: %v", err)
	}
	has(t, s, a.ID, false)
	must(t, s.Each(func(id store.BodyID, _ uint64, _ int64) error {
		if id == a.ID {
			t.Error("Each shows a damaged body")
		}
		return nil
	}))
	var bad []store.BodyID
	must(t, s.Scrub(context.Background(), 0, func(id store.BodyID, err error) {
		if !errors.Is(err, blob.ErrCorrupt) {
			t.Errorf("Scrub: %v", err)
		}
		bad = append(bad, id)
	}))
	if len(bad) != 1 || bad[0] != a.ID || s.Stats().CorruptKnown != 1 {
		t.Errorf("Scrub found %v; stats %+v", bad, s.Stats())
	}
	must(t, Check(s, b))
	must(t, Put(s, a, true))
	must(t, Check(s, a))
	must(t, s.Verify(a.ID))
	if known := s.Stats().CorruptKnown; known != 0 {
		t.Errorf("%d corrupt bodies after the repair", known)
	}
}

func compacts(t *testing.T, s Subject) {
	var live []Body
	for seed := range uint64(60) {
		b := Make(t, seed, 4000)
		must(t, Put(s, b, false))
		if seed%3 == 0 {
			live = append(live, b)
		} else {
			must(t, s.Delete(b.ID))
		}
	}
	for range 2 {
		must(t, s.Compact(context.Background()))
		for _, b := range live {
			must(t, Check(s, b))
		}
	}
	if n := s.Stats().Bodies; n != int64(len(live)) {
		t.Errorf("%d bodies, want %d", n, len(live))
	}
}

func concurrent(t *testing.T, s Subject) {
	shared := Make(t, 99, 2000)
	var group sync.WaitGroup
	errs := make(chan error, 100)
	for worker := range uint64(8) {
		var mine []Body
		for i := range uint64(12) {
			mine = append(mine, Make(t, 1000+worker*100+i, 1500))
		}
		group.Go(func() {
			for i, b := range mine {
				err := errors.Join(Put(s, b, i%2 == 0), Put(s, shared, true), Check(s, b), Check(s, shared))
				if i%3 == 0 {
					err = errors.Join(err, s.Delete(b.ID))
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Go(func() {
		for range 5 {
			if err := s.Compact(context.Background()); err != nil {
				errs <- err
			}
		}
	})
	group.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if n := s.Stats().Bodies; n != 8*8+1 {
		t.Errorf("%d bodies, want 65", n)
	}
}

func cancelled(t *testing.T, s Subject) {
	must(t, Put(s, Make(t, 1, 100), false))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Scrub(ctx, 1, func(store.BodyID, error) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("Scrub: %v", err)
	}
}
