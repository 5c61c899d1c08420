package state

import (
	"testing"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
)

// On start only the bodies are looked at that came after the last time that bodies were synced.
func TestUnsureInlineLooksAtTheTailOnly(t *testing.T) {
	blobs := blob.NewMemory()
	open := func(dir string) *Machine {
		t.Helper()
		m, err := Open(Config{Dir: dir, Blobs: blobs, Self: "a"})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	dir := t.TempDir()
	m := open(dir)
	b := (&bench{Machine: m, t: t}).found()
	an := b.account("an@example.test")
	for range 3 {
		b.do(add(b.body("before"), an))
	}
	if err := m.syncBodies(); err != nil { // as before a flush
		t.Fatal(err)
	}
	b.do(add(b.body("with the note"), an))
	ref := b.body("after")
	b.do(add(ref, an))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	err := blobs.Each(func(id store.BodyID, _ uint64, _ int64) error { return blobs.Delete(id) })
	if err != nil {
		t.Fatal(err)
	}
	m = open(dir)
	defer m.Close()
	gone, err := m.UnsureInline()
	if err != nil || len(gone) != 2 || gone[1].ID != store.BodyID(ref.Id) || gone[1].Index != b.index {
		t.Errorf("%v are gone (%v), want the last two bodies", gone, err)
	}
}
