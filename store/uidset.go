package store

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// MaxUIDRanges bounds the ranges of a packed UIDSet.
const MaxUIDRanges = 100_000

// UIDRange is the UIDs from First to Last, both included. Invariant: 1 <= First <= Last.
type UIDRange struct{ First, Last UID }

// UIDSet is a set of UIDs as ranges in ascending order, which neither overlap nor touch.
type UIDSet []UIDRange

// Add puts a UID into the set. It is cheap for UIDs added in ascending order. Zero is no UID and is not added.
func (s *UIDSet) Add(uid UID) { s.AddRange(uid, uid) }

// AddRange puts the UIDs from first to last into the set; a range with no UID in it adds nothing.
func (s *UIDSet) AddRange(first, last UID) {
	if first == 0 {
		first = 1
	}
	if last < first {
		return
	}
	set := *s
	// All ranges in [from, to) overlap or touch the new one and become one with it.
	from, _ := slices.BinarySearchFunc(set, first, func(r UIDRange, first UID) int {
		if uint64(r.Last)+1 < uint64(first) {
			return -1
		}
		return 1
	})
	to := from
	for to < len(set) && uint64(set[to].First) <= uint64(last)+1 {
		first, last = min(first, set[to].First), max(last, set[to].Last)
		to++
	}
	*s = slices.Replace(set, from, to, UIDRange{first, last})
}

// Contains tells whether a UID is in the set.
func (s UIDSet) Contains(uid UID) bool {
	i, found := slices.BinarySearchFunc(s, uid, func(r UIDRange, uid UID) int {
		switch {
		case r.Last < uid:
			return -1
		case r.First > uid:
			return 1
		}
		return 0
	})
	return found && i < len(s)
}

// Len is how many UIDs are in the set.
func (s UIDSet) Len() uint64 {
	var n uint64
	for _, r := range s {
		n += uint64(r.Last-r.First) + 1
	}
	return n
}

// PackUIDs writes a set as commands carry it: for every range the first and the last UID as unsigned varints, ascending.
func PackUIDs(s UIDSet) []byte {
	b := make([]byte, 0, 4*len(s))
	for _, r := range s {
		b = binary.AppendUvarint(b, uint64(r.First))
		b = binary.AppendUvarint(b, uint64(r.Last))
	}
	return b
}

// UnpackUIDs reads what PackUIDs wrote. Anything that is no ascending set of at most MaxUIDRanges ranges is an error that wraps
// ErrInvalid.
func UnpackUIDs(b []byte) (UIDSet, error) {
	var s UIDSet
	var before uint64
	for len(b) > 0 {
		first, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, fmt.Errorf("UID set: broken number: %w", ErrInvalid)
		}
		last, m := binary.Uvarint(b[n:])
		if m <= 0 {
			return nil, fmt.Errorf("UID set: broken number: %w", ErrInvalid)
		}
		b = b[n+m:]
		if first <= before || last < first || last > 1<<32-1 || len(s) == MaxUIDRanges {
			return nil, fmt.Errorf("UID set: range %d:%d after %d, number %d: %w", first, last, before, len(s), ErrInvalid)
		}
		before = last
		// Touching ranges are taken, and joined.
		if len(s) > 0 && uint64(s[len(s)-1].Last)+1 == first {
			s[len(s)-1].Last = UID(last)
			continue
		}
		s = append(s, UIDRange{UID(first), UID(last)})
	}
	return s, nil
}
