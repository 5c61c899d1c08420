package checker

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// naive is the model as plain as can be.
type naive struct {
	next uint32
	msgs []entry
}

func (n naive) view() *view {
	v := &view{next: n.next, mails: slices.Clone(n.msgs)}
	for _, e := range n.msgs {
		v.hash += e.hash()
	}
	return v
}

// TestModelAgreesWithNaiveModel changes both at random, goes back to older states now and then, as a search does, and reads at each step.
func TestModelAgreesWithNaiveModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	type pair struct {
		s *state
		n naive
	}
	now := pair{&state{next: 1}, naive{next: 1}}
	past := []pair{now}
	for range 5000 {
		uid := uint32(1 + rng.IntN(int(now.n.next)))
		at := slices.IndexFunc(now.n.msgs, func(e entry) bool { return e.uid == uid })
		next := naive{now.n.next, slices.Clone(now.n.msgs)}
		in := &input{uid: uid, flag: 1 << rng.IntN(3), add: rng.IntN(2) == 0}
		switch rng.IntN(5) {
		case 0, 1:
			in.kind, in.uid, in.id, in.flag, in.known = addMail, now.n.next+uint32(rng.IntN(2)), rng.Int32(), 0, allFlags
			next.msgs = append(next.msgs, entry{in.uid, in.id, 0, allFlags})
			next.next = in.uid + 1
		case 2:
			in.kind = removeMail
			if at >= 0 {
				next.msgs = slices.Delete(next.msgs, at, at+1)
			}
		default:
			in.kind = setFlag
			if at >= 0 && in.add {
				next.msgs[at].flags |= in.flag
			} else if at >= 0 {
				next.msgs[at].flags &^= in.flag
			}
		}
		ok, s := step(now.s, in)
		if !ok {
			t.Fatalf("the model refuses %+v", in)
		}
		v := next.view()
		if ok, _ := step(s, &input{kind: readMail, view: v}); !ok {
			t.Fatalf("the model refuses the read after %+v", in)
		}
		if len(v.mails) > 0 {
			wrong := next.view()
			wrong.mails[0].flags ^= 2
			wrong.hash += wrong.mails[0].hash() - v.mails[0].hash()
			if ok, _ := step(s, &input{kind: readMail, view: wrong}); ok {
				t.Fatal("the model accepts a wrong flag")
			}
		}
		now = pair{s, next}
		past = append(past, now)
		if rng.IntN(50) == 0 {
			now = past[rng.IntN(len(past))]
		}
	}
}

// TestModelLearnsFlags: what a moved message brought along is not known until a read shows it, other than what was changed since.
func TestModelLearnsFlags(t *testing.T) {
	_, s := step(&state{next: 1}, &input{kind: addMail, uid: 3, id: 9})
	_, s = step(s, &input{kind: setFlag, uid: 3, flag: 1, add: true})
	read := func(s *state, flags uint64) (bool, *state) {
		e := entry{3, 9, flags, allFlags}
		return step(s, &input{kind: readMail, view: &view{next: 4, mails: []entry{e}, hash: e.hash()}})
	}
	if ok, _ := read(s, 4); ok {
		t.Error("a read without the flag that was set is accepted")
	}
	ok, learned := read(s, 5)
	if !ok {
		t.Fatal("a read with a flag that may have come along is refused")
	}
	if ok, _ := read(learned, 1); ok {
		t.Error("a flag that was there disappears")
	}
	if ok, _ := read(learned, 5); !ok {
		t.Error("the same read is refused later")
	}
}

// TestModelRefusesUsedUID: a UID below the next one is never given again.
func TestModelRefusesUsedUID(t *testing.T) {
	_, s := step(&state{next: 1}, &input{kind: addMail, uid: 3})
	if ok, _ := step(s, &input{kind: addMail, uid: 3}); ok {
		t.Error("a UID is given twice")
	}
	if ok, _ := step(s, &input{kind: readMail, view: &view{next: 3}}); ok {
		t.Error("UIDNEXT falls")
	}
}
