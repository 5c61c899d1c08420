//go:build broken

package state

import (
	"errors"
	"testing"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/broken"
)

// newBroken is newBench for what breaks the state: Check would find it.
func newBroken(t *testing.T) *bench {
	t.Helper()
	blobs := blob.NewMemory()
	m, err := Open(Config{Blobs: blobs, Self: "a", OnFatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return (&bench{Machine: m, t: t, blobs: blobs}).found()
}

func TestWithoutDedupeARepeatedCommandIsExecutedAgain(t *testing.T) {
	t.Setenv("QUORUMAIL_BROKEN", string(broken.Dedupe))
	b := newBroken(t)
	an := b.account("an@example.test")
	raw := b.command(add(b.body("hello"), an))
	b.apply(raw)
	b.apply(raw)
	if mb := b.inbox(an); mb.Messages != 2 {
		t.Errorf("%d messages after a repeated command, want 2", mb.Messages)
	}
	b.do(add(b.body("other"), an)) // its lowest passes the first one
	b.apply(raw)
	if mb := b.inbox(an); mb.Messages != 4 {
		t.Errorf("%d messages after a repeat that comes late, want 4", mb.Messages)
	}
}

func TestWithoutQuorumSetOneDiskIsEnough(t *testing.T) {
	b := newBroken(t)
	an := b.account("an@example.test")
	if _, err := b.try(add(b.beside("a"), an)); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("whole: %v", err)
	}
	t.Setenv("QUORUMAIL_BROKEN", string(broken.QuorumSet))
	if _, err := b.try(add(b.beside("a"), an)); err != nil {
		t.Errorf("a body on one of three voters: %v", err)
	}
	if mb := b.inbox(an); mb.Messages != 1 {
		t.Errorf("%d messages, want 1", mb.Messages)
	}
}
