package checker

import (
	"slices"
	"strconv"
	"strings"

	"github.com/quorumail/quorumail/jepsen/history"
)

// IMAP judges what RFC 9051 §2.3.1 and RFC 7162 §3.1 promise of UIDs and MODSEQs, across all nodes, by real-time order: what an operation saw
// is compared with what had returned before it was invoked. A Read is taken as one snapshot: its UIDNEXT and HIGHESTMODSEQ belong to its
// messages.
//
// Kinds of violations: "uidvalidity changed", "uid reused" (a UID names two messages), "uid order" (UIDs of a read do not ascend), "uid at
// uidnext" (a UID that is not below UIDNEXT), "uid below uidnext" (a new message got a UID below a UIDNEXT that was seen before), "returned"
// (a message that was gone is there again), "uidnext fell", "highestmodseq fell", "modseq fell" (of one message), "flags without modseq" (one
// MODSEQ with two sets of flags), "modseq above highestmodseq" (in a final read).
func IMAP(h *history.History) Result { return imap(newIndex(h)) }

// imapBox is what is known of a mailbox at one point of the sweep, of all that had returned.
type imapBox struct {
	*findings
	b        *box
	uids     []uint32 // every UID that was ever told, sorted
	known    []uidFacts
	next     uint32 // greatest UIDNEXT
	nextBy   string
	modseq   uint64 // greatest HIGHESTMODSEQ
	modseqBy string
}

type uidFacts struct {
	id       string
	named    bool
	gone     string // why it is not there any more; "" if nothing is known
	goneRead bool   // by a read that did not show it
	modseq   uint64
	first    flagsAt // what flags it has at which MODSEQ; the first, and more
	more     []flagsAt
	reported bool
}

type flagsAt struct {
	modseq uint64
	flags  string
}

func imap(x *index) Result {
	f := &findings{}
	reads, arrivals := 0, x.arrivals()
	for _, name := range x.names {
		b := x.boxes[name]
		reads += len(b.reads)
		s := &imapBox{findings: f, b: b}
		s.collect(arrivals[name])
		sweep(s.spans(arrivals[name]))
	}
	return f.result("imap", reads, "", map[string]int{"reads": reads})
}

// arrivals are, by mailbox, the moves of which COPYUID told where they went.
func (x *index) arrivals() map[string][]*removal {
	to := map[string][]*removal{}
	for _, name := range x.names {
		for _, r := range x.boxes[name].removals {
			if r.Kind == history.Move && r.outcome == history.OK && r.DestUID != 0 {
				to[r.Dest] = append(to[r.Dest], r)
			}
		}
	}
	return to
}

func (s *imapBox) collect(arrivals []*removal) {
	for _, r := range s.b.reads {
		for _, m := range r.Mailbox.Messages {
			s.uids = append(s.uids, m.UID)
		}
	}
	for _, o := range s.b.adds {
		if o.Outcome == history.OK && o.UID != 0 {
			s.uids = append(s.uids, o.UID)
		}
	}
	for _, r := range s.b.removals {
		if r.uid != 0 {
			s.uids = append(s.uids, r.uid)
		}
	}
	for _, r := range arrivals {
		s.uids = append(s.uids, r.DestUID)
	}
	slices.Sort(s.uids)
	s.uids = slices.Clip(slices.Compact(s.uids))
	s.known = make([]uidFacts, len(s.uids))
}

func (s *imapBox) facts(uid uint32) *uidFacts {
	i, ok := slices.BinarySearch(s.uids, uid)
	if !ok {
		return nil
	}
	return &s.known[i]
}

func (s *imapBox) spans(arrivals []*removal) []span {
	var spans []span
	for i := range s.b.reads {
		r := &s.b.reads[i]
		spans = append(spans, span{r.Invoke, r.Return, func() { s.judge(r) }, func() { s.learn(r) }})
	}
	for _, o := range s.b.adds {
		if uid := s.uidOf(o); uid != 0 {
			spans = append(spans, s.given(o, uid, o.ID))
		}
	}
	for _, r := range arrivals {
		id := r.ID
		if m := r.box.byUID[r.uid]; m != nil {
			id = m.id
		}
		spans = append(spans, s.given(r.Op, r.DestUID, id))
	}
	for _, r := range s.b.removals {
		if r.outcome == history.OK && r.uid != 0 {
			spans = append(spans, span{ret: r.until, end: func() { s.taken(r) }})
		}
	}
	for _, o := range s.b.stores {
		if k := s.facts(o.UID); o.Outcome == history.OK && o.ModSeq != 0 {
			spans = append(spans, span{ret: o.Return, end: func() {
				if k != nil {
					k.modseq = max(k.modseq, o.ModSeq)
				}
				s.reached(o.ModSeq, "a STORE at "+o.Node+" at "+at(o.Return))
			}})
		}
	}
	return spans
}

// uidOf is the UID that an acknowledged delivery or APPEND gave; 0 if it is not known. Of a delivery, which does not tell, it is that of the
// only copy that there can be.
func (s *imapBox) uidOf(o *history.Op) uint32 {
	m := s.b.byID[o.ID]
	if o.Outcome == history.OK && o.UID == 0 && m.came().hi == 1 && len(m.uids) == 1 {
		return m.uids[0]
	}
	if o.Outcome != history.OK {
		return 0
	}
	return o.UID
}

// given judges and learns a UID that APPENDUID or COPYUID told.
func (s *imapBox) given(o *history.Op, uid uint32, id string) span {
	return span{o.Invoke, o.Return, func() {
		if uid < s.next {
			s.add("uid below uidnext", o.Return, "%s: %s at %s gave %s UID %d, but UIDNEXT was beyond that before: by %s it was %d at least", s.b.name, o.Kind, o.Node, id, uid, s.nextBy, s.next)
		}
	}, func() {
		s.name(uid, id, o)
		if uid+1 > s.next {
			s.next, s.nextBy = uid+1, string(o.Kind)+" at "+o.Node+" at "+at(o.Return)
		}
	}}
}

func (s *imapBox) taken(r *removal) {
	if k := s.facts(r.uid); k != nil && k.gone == "" {
		k.gone = string(r.Kind) + " at " + r.Node + ", acknowledged at " + at(r.until)
	}
}

func (s *imapBox) name(uid uint32, id string, o *history.Op) {
	k := s.facts(uid)
	if k.named && k.id != id {
		s.add("uid reused", o.Return, "%s: UID %d was %q, and is %q in the %s at %s", s.b.name, uid, k.id, id, o.Kind, o.Node)
		return
	}
	k.named, k.id = true, id
}

func (s *imapBox) reached(modseq uint64, by string) {
	if modseq > s.modseq {
		s.modseq, s.modseqBy = modseq, by
	}
}

// judge compares a read with what had returned before it began.
func (s *imapBox) judge(r *reading) {
	m := r.Mailbox
	if m.UIDValidity != s.b.reads[0].Mailbox.UIDValidity {
		return // its UIDs are others; learn tells
	}
	if m.UIDNext < s.next {
		s.add("uidnext fell", r.Return, "%s: UIDNEXT is %d at %s, but by %s it was %d at least", s.b.name, m.UIDNext, r.Node, s.nextBy, s.next)
	}
	if m.HighestModSeq != 0 && m.HighestModSeq < s.modseq {
		s.add("highestmodseq fell", r.Return, "%s: HIGHESTMODSEQ is %d at %s, but %s told %d before", s.b.name, m.HighestModSeq, r.Node, s.modseqBy, s.modseq)
	}
	for i, msg := range m.Messages {
		if i > 0 && msg.UID <= m.Messages[i-1].UID {
			s.add("uid order", r.Return, "%s: UID %d comes after %d at %s", s.b.name, msg.UID, m.Messages[i-1].UID, r.Node)
		}
		if msg.UID >= m.UIDNext {
			s.add("uid at uidnext", r.Return, "%s: UID %d is there while UIDNEXT is %d at %s", s.b.name, msg.UID, m.UIDNext, r.Node)
		}
		// While others write, FETCH may show what came after the SELECT that told HIGHESTMODSEQ.
		if m.Final && m.HighestModSeq != 0 && msg.ModSeq > m.HighestModSeq {
			s.add("modseq above highestmodseq", r.Return, "%s: UID %d has MODSEQ %d while HIGHESTMODSEQ is %d at %s", s.b.name, msg.UID, msg.ModSeq, m.HighestModSeq, r.Node)
		}
		s.judgeMessage(r, msg)
	}
}

func (s *imapBox) judgeMessage(r *reading, msg history.Message) {
	k := s.facts(msg.UID)
	if k.gone != "" && !k.reported {
		k.reported = true
		kind := "returned"
		if k.goneRead && !k.named {
			kind = "uid below uidnext" // it is new
		}
		s.add(kind, r.Return, "%s: UID %d (%s) is there at %s in the read that began at %s, but was not before: %s", s.b.name, msg.UID, msg.ID, r.Node, at(r.Invoke), k.gone)
	}
	if msg.ModSeq != 0 && msg.ModSeq < k.modseq {
		s.add("modseq fell", r.Return, "%s: UID %d has MODSEQ %d at %s, and had %d before", s.b.name, msg.UID, msg.ModSeq, r.Node, k.modseq)
	}
}

// learn adds what a read that has returned told.
func (s *imapBox) learn(r *reading) {
	m := r.Mailbox
	if first := s.b.reads[0].Mailbox.UIDValidity; m.UIDValidity != first {
		s.add("uidvalidity changed", r.Return, "%s: UIDVALIDITY was %d, and is %d at %s", s.b.name, first, m.UIDValidity, r.Node)
		return // its UIDs are others
	}
	if m.UIDNext > s.next {
		s.next, s.nextBy = m.UIDNext, "the read at "+r.Node+" that returned at "+at(r.Return)
	}
	s.reached(m.HighestModSeq, "the read at "+r.Node+" that returned at "+at(r.Return))
	here := make([]bool, len(s.uids))
	absent := "the read at " + r.Node + " that returned at " + at(r.Return) + " with UIDNEXT " + strconv.FormatUint(uint64(m.UIDNext), 10)
	for _, msg := range m.Messages {
		i, _ := slices.BinarySearch(s.uids, msg.UID)
		here[i] = true
		s.name(msg.UID, msg.ID, r.Op)
		s.flags(&s.known[i], msg, r)
	}
	for i, uid := range s.uids {
		if k := &s.known[i]; uid < m.UIDNext && !here[i] && k.gone == "" {
			k.gone, k.goneRead = absent, true
		}
	}
}

func (s *imapBox) flags(k *uidFacts, msg history.Message, r *reading) {
	if msg.ModSeq == 0 {
		return
	}
	k.modseq = max(k.modseq, msg.ModSeq)
	now := flagsAt{msg.ModSeq, strings.Join(msg.Flags, " ")}
	if k.first.modseq == 0 {
		k.first = now
	}
	old := k.first
	if old.modseq != now.modseq {
		i := slices.IndexFunc(k.more, func(f flagsAt) bool { return f.modseq == now.modseq })
		if i < 0 {
			k.more = append(k.more, now)
			return
		}
		old = k.more[i]
	}
	if old.flags != now.flags {
		s.add("flags without modseq", r.Return, "%s: UID %d had flags (%s) at MODSEQ %d, and has (%s) at %s", s.b.name, msg.UID, old.flags, old.modseq, now.flags, r.Node)
	}
}
