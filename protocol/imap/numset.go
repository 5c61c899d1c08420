package imap

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// MaxRanges bounds the ranges of a set that a client sends: 64 KiB of line cannot hold more than
// about 32,000, and a set of more than that in one command is no honest wish.
const MaxRanges = 32 << 10

// NumSet is a set of message sequence numbers or UIDs as it stands on the wire (RFC 9051 §9, sequence-set).
// The order of the ranges is kept.
type NumSet struct {
	Ranges []Range
	Saved  bool // "$": the result of the last SEARCH with RETURN (SAVE) (RFC 9051 §6.4.4.1)
}

// Range is first:last, both included, in either order; 0 stands for "*", the largest number in use.
type Range struct{ First, Last uint32 }

var errSet = errors.New("bad message set")

// ParseNumSet parses a sequence-set.
func ParseNumSet(s string) (NumSet, error) {
	if s == "$" {
		return NumSet{Saved: true}, nil
	}
	var set NumSet
	for {
		item, rest, more := strings.Cut(s, ",")
		r, ok := parseRange(item)
		if !ok || len(set.Ranges) == MaxRanges {
			return NumSet{}, errSet
		}
		set.Ranges = append(set.Ranges, r)
		if !more {
			return set, nil
		}
		s = rest
	}
}

func parseRange(s string) (Range, bool) {
	first, last, two := strings.Cut(s, ":")
	a, ok := parseSetNumber(first)
	if !ok || !two {
		return Range{a, a}, ok
	}
	b, ok := parseSetNumber(last)
	return Range{a, b}, ok
}

// parseSetNumber accepts "*" and nz-number (RFC 9051 §9: digit-nz first, at most 32 bits).
func parseSetNumber(s string) (uint32, bool) {
	if s == "*" {
		return 0, true
	}
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// SetOf returns the set of the given numbers, which should ascend for the shortest form.
func SetOf(nums ...uint32) NumSet {
	var s NumSet
	for _, n := range nums {
		s.Add(n)
	}
	return s
}

// Add adds one number, lengthening the last range where it continues it.
func (s *NumSet) Add(n uint32) { s.AddRange(n, n) }

// AddRange adds first:last, lengthening the last range where it continues it.
func (s *NumSet) AddRange(first, last uint32) {
	if k := len(s.Ranges); k > 0 {
		r := &s.Ranges[k-1]
		if r.Last != 0 && r.First <= r.Last && first <= last && first == r.Last+1 {
			r.Last = last
			return
		}
	}
	s.Ranges = append(s.Ranges, Range{first, last})
}

// Empty tells whether the set names nothing at all.
func (s NumSet) Empty() bool { return len(s.Ranges) == 0 && !s.Saved }

// Dynamic tells whether the set's meaning depends on the mailbox: it holds "*" or is "$".
func (s NumSet) Dynamic() bool {
	return s.Saved || slices.ContainsFunc(s.Ranges, func(r Range) bool { return r.First == 0 || r.Last == 0 })
}

// Len returns how many numbers the ranges name, counting overlaps twice. It is of use for sets that are not Dynamic.
func (s NumSet) Len() uint64 {
	var n uint64
	for _, r := range s.Ranges {
		a, b := min(r.First, r.Last), max(r.First, r.Last)
		n += uint64(b-a) + 1
	}
	return n
}

// Resolve returns the ranges ascending, merged and with "*" replaced by largest, the largest number in use. In an empty
// mailbox (largest 0) "*" names nothing. A number beyond largest stays: for sequence
// numbers the caller refuses it, for UIDs it is ignored (RFC 9051 §6.4.9).
func (s NumSet) Resolve(largest uint32) []Range {
	out := make([]Range, 0, len(s.Ranges))
	for _, r := range s.Ranges {
		if r, ok := r.resolve(largest); ok {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Range) int {
		switch {
		case a.First < b.First:
			return -1
		case a.First > b.First:
			return 1
		}
		return 0
	})
	return merge(out)
}

// resolve orders the ends. RFC 9051 §9: "5:*" in a mailbox of three messages means 3:5.
func (r Range) resolve(largest uint32) (Range, bool) {
	if (r.First == 0 || r.Last == 0) && largest == 0 {
		return Range{}, false
	}
	if r.First == 0 {
		r.First = largest
	}
	if r.Last == 0 {
		r.Last = largest
	}
	if r.First > r.Last {
		r.First, r.Last = r.Last, r.First
	}
	return r, true
}

// merge joins neighbouring and overlapping ranges of an ascending list, in place.
func merge(in []Range) []Range {
	out := in[:0]
	for _, r := range in {
		k := len(out)
		if k > 0 && uint64(r.First) <= uint64(out[k-1].Last)+1 {
			out[k-1].Last = max(out[k-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Contains tells whether n is in the set; largest is what "*" means. It looks at every range: where many
// numbers are asked, Resolve once and search that.
func (s NumSet) Contains(n, largest uint32) bool {
	for _, r := range s.Ranges {
		if r, ok := r.resolve(largest); ok && r.First <= n && n <= r.Last {
			return true
		}
	}
	return false
}

// String returns the set as it goes on the wire; "" for an empty one.
func (s NumSet) String() string { return string(s.append(nil)) }

func (s NumSet) append(b []byte) []byte {
	if s.Saved {
		return append(b, '$')
	}
	for i, r := range s.Ranges {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendSetNumber(b, r.First)
		if r.Last != r.First {
			b = appendSetNumber(append(b, ':'), r.Last)
		}
	}
	return b
}

func appendSetNumber(b []byte, n uint32) []byte {
	if n == 0 {
		return append(b, '*')
	}
	return strconv.AppendUint(b, uint64(n), 10)
}
