package checker

import (
	"math/bits"

	"github.com/anishathalye/porcupine"
)

// The model of one mailbox: a map from UIDs to messages with flags, and a lower bound for the next UID. UIDs ascend, but need not be
// contiguous (RFC 9051 §2.3.1.1).

// inputKind is what an input does.
type inputKind uint8

const (
	addMail inputKind = iota
	removeMail
	setFlag
	readMail
)

// input is an operation as the model sees it. Message ids and flags are numbers: places in a table of the mailbox, bits of a mask.
type input struct {
	kind  inputKind
	uid   uint32 // 0 for addMail: not known, the next
	after uint32 // of addMail: the next lower UID that some addition gives, without which this one leads nowhere; 0: none
	id    int32
	flag  uint64
	add   bool
	known uint64 // of addMail: the flags of which it is known whether they are set; those that are, are in flag
	view  *view  // of readMail
	text  string // for people
}

// view is what a read showed.
type view struct {
	next  uint32
	mails []entry // in the order of their UIDs, all flags known
	hash  uint64
}

// entry is a message. Flags that a moved message brought along are not known until a read shows them.
type entry struct {
	uid          uint32 // 0: taken out
	id           int32
	flags, known uint64
}

const allFlags = ^uint64(0)

// state is immutable. Messages stand in the order of their UIDs in chunks, so that a changed state shares almost all of them.
type state struct {
	next    uint32
	n       int // entries, also those taken out
	chunks  []*[chunkLen]entry
	hash    uint64 // of the messages that are there
	partial int    // messages of which not all flags are known
}

const chunkLen = 32

// mailbox is for Porcupine.
var mailbox = porcupine.Model{
	Init: func() any { return &state{next: 1} },
	Step: func(s, in, _ any) (bool, any) {
		return step(s.(*state), in.(*input))
	},
	Equal: func(a, b any) bool { return a.(*state).equal(b.(*state)) },
	Hash:  func(s any) uint64 { return s.(*state).hash ^ uint64(s.(*state).next) },
}

func step(s *state, in *input) (bool, *state) {
	switch in.kind {
	case addMail:
		uid := in.uid
		if uid == 0 {
			uid = s.next
		}
		if uid < s.next || s.next <= in.after {
			return false, nil
		}
		return true, s.push(entry{uid, in.id, in.flag, in.known})
	case removeMail:
		if i := s.find(in.uid); i >= 0 {
			return true, s.put(i, entry{})
		}
		return true, s
	case setFlag:
		i := s.find(in.uid)
		if i < 0 {
			return true, s // OK, and no effect: RFC 9051 §6.4.9
		}
		e := s.at(i)
		e.known |= in.flag
		if in.add {
			e.flags |= in.flag
		} else {
			e.flags &^= in.flag
		}
		return true, s.put(i, e)
	default:
		return s.read(in.view)
	}
}

// read accepts a view that shows exactly the messages of the state, and learns from it.
func (s *state) read(v *view) (bool, *state) {
	if v.next < s.next {
		return false, nil
	}
	if s.partial == 0 {
		if s.hash != v.hash || s.next == v.next {
			return s.hash == v.hash, s
		}
		t := *s
		t.next = v.next
		return true, &t
	}
	k := 0
	t := s
	for i := range s.n {
		e := s.at(i)
		if e.uid == 0 {
			continue
		}
		if k == len(v.mails) || v.mails[k].uid != e.uid || v.mails[k].id != e.id || (v.mails[k].flags^e.flags)&e.known != 0 {
			return false, nil
		}
		if e.known != allFlags {
			t = t.put(i, v.mails[k])
		}
		k++
	}
	if k < len(v.mails) {
		return false, nil
	}
	u := *t
	u.next = v.next
	return true, &u
}

func (s *state) at(i int) entry { return s.chunks[i/chunkLen][i%chunkLen] }

// find looks for a message by binary search; entries taken out have lost their UID, so it steps over them.
func (s *state) find(uid uint32) int {
	lo, hi := 0, s.n
	for lo < hi {
		mid := (lo + hi) / 2
		i := mid
		for i < hi && s.at(i).uid == 0 {
			i++
		}
		switch {
		case i == hi || s.at(i).uid > uid:
			hi = mid
		case s.at(i).uid == uid:
			return i
		default:
			lo = i + 1
		}
	}
	return -1
}

func (s *state) push(e entry) *state {
	t := *s
	t.next = e.uid + 1
	t.n++
	if s.n%chunkLen == 0 {
		t.chunks = append(s.chunks[:len(s.chunks):len(s.chunks)], new([chunkLen]entry))
	}
	return t.set(s.n, entry{}, e, s.n%chunkLen == 0)
}

func (s *state) put(i int, e entry) *state {
	t := *s
	return t.set(i, s.at(i), e, false)
}

// set changes one entry of a state that nobody else has yet; fresh says that this is so for its chunks, too.
func (s *state) set(i int, old, e entry, fresh bool) *state {
	if !fresh {
		s.chunks = append([]*[chunkLen]entry(nil), s.chunks...)
		c := *s.chunks[i/chunkLen]
		s.chunks[i/chunkLen] = &c
	}
	s.chunks[i/chunkLen][i%chunkLen] = e
	s.hash += e.hash() - old.hash()
	s.partial += e.isPartial() - old.isPartial()
	return s
}

func (e entry) isPartial() int {
	if e.uid != 0 && e.known != allFlags {
		return 1
	}
	return 0
}

// hash is 0 for an entry that was taken out. The hash of a mailbox is the sum of its messages'.
func (e entry) hash() uint64 {
	if e.uid == 0 {
		return 0
	}
	return mix(mix(mix(uint64(e.uid)<<32|uint64(uint32(e.id)))^e.flags) ^ bits.RotateLeft64(e.known, 7))
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (s *state) equal(t *state) bool {
	return s == t || s.next == t.next && s.hash == t.hash && s.partial == t.partial
}
