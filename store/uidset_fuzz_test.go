package store

import (
	"bytes"
	"slices"
	"testing"
)

// FuzzUnpackUIDs reads arbitrary bytes as a set of UIDs: they are refused, or a set in its only form, which packs into bytes that read the
// same.
func FuzzUnpackUIDs(f *testing.F) {
	f.Add(PackUIDs(UIDSet{{1, 3}, {7, 7}}))
	f.Add(PackUIDs(UIDSet{{1, 1<<32 - 1}}))
	f.Add([]byte{1, 1, 2, 2, 3, 3})
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, raw []byte) {
		set, err := UnpackUIDs(raw)
		if err != nil {
			return
		}
		last := uint64(0)
		for i, r := range set {
			if r.First == 0 || r.Last < r.First || i > 0 && uint64(r.First) <= last+1 {
				t.Fatalf("%v is no set in order", set)
			}
			last = uint64(r.Last)
			if !set.Contains(r.First) || !set.Contains(r.Last) {
				t.Fatalf("%v does not contain its ends", set)
			}
		}
		packed := PackUIDs(set)
		again, err := UnpackUIDs(packed)
		if err != nil || !slices.Equal(set, again) || !bytes.Equal(PackUIDs(again), packed) {
			t.Fatalf("%v packs into %v (%v)", set, again, err)
		}
	})
}
