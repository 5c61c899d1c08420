package state

import (
	"bytes"
	"io"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/storepb"
)

// FuzzApplyCommand applies arbitrary bytes as a command to a state with some mail in it, under an id that is free: whatever they say,
// every invariant holds afterwards, and a second machine comes to the same state.
func FuzzApplyCommand(f *testing.F) {
	s := newStory(f, 1)
	begin := s.begin()
	for range 100 {
		e := s.next()
		begin = append(begin, e)
		if e.Command != nil {
			f.Add(e.Command)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := &storepb.Command{}
		if proto.Unmarshal(raw, c) == nil { // else as it is
			c.Version, c.Group, c.Incarnation, c.Seq, c.Lowest = 1, 0, bytes.Repeat([]byte{99}, 16), 1, 1
			if again, err := proto.Marshal(c); err == nil {
				raw = again
			}
		}
		var hashes [2]string
		for i := range hashes {
			m, err := Open(Config{Blobs: blob.NewMemory(), Self: "a"})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if err := m.Apply(begin); err != nil {
				t.Fatal(err)
			}
			_ = m.Apply([]Entry{{Index: s.index + 1, Term: 9, Command: raw}}) // an error is an answer; a panic is not
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			if _, hashes[i], err = m.Hash(); err != nil {
				t.Fatal(err)
			}
		}
		if hashes[0] != hashes[1] {
			t.Error("one command leads to two states")
		}
	})
}

// FuzzRestore takes in arbitrary bytes as a checkpoint: they are refused and nothing changes, or they are the whole state.
func FuzzRestore(f *testing.F) {
	m, err := Open(Config{Blobs: blob.NewMemory(), Self: "a"})
	if err != nil {
		f.Fatal(err)
	}
	defer m.Close()
	empty := checkpointOf(f, m)
	s := newStory(f, 2)
	if err := m.Apply(s.begin()); err != nil {
		f.Fatal(err)
	}
	full := checkpointOf(f, m)
	for _, raw := range [][]byte{empty, full, full[:len(full)-1], append(bytes.Clone(full), 0), full[:len(full)/2], {}} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		to, err := Open(Config{Blobs: blob.NewMemory(), Self: "a"})
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		if err := to.Apply([]Entry{{Index: 1, Term: 1}}); err != nil {
			t.Fatal(err)
		}
		_, before, err := to.Hash()
		if err != nil {
			t.Fatal(err)
		}
		if err := to.Restore(bytes.NewReader(raw)); err != nil {
			if _, after, err := to.Hash(); err != nil || after != before || to.Position().Index != 1 || to.NeedsAllBodies() {
				t.Errorf("a refused checkpoint changed the state (%v)", err)
			}
			return
		}
		if !bytes.Equal(checkpointOf(t, to), raw) {
			t.Error("what was taken in comes out as something else")
		}
	})
}

func checkpointOf(t testing.TB, m *Machine) []byte {
	t.Helper()
	_, size, r, err := m.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err != nil || int64(len(raw)) != size {
		t.Fatalf("a checkpoint of %d bytes, said to have %d (%v)", len(raw), size, err)
	}
	return raw
}
