package checker

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// forever is when an operation ends whose outcome is Unknown: it may take effect at any later time.
const forever = time.Duration(math.MaxInt64)

// deleted is the flag that Expunge sets before it expunges. The two steps are one operation here, so checkers overlook the flag.
const deleted = `\deleted`

// index is a history sorted by mailbox, made once for all checkers that look at mail.
type index struct {
	h       *history.History
	boxes   map[string]*box
	names   []string // of the boxes, sorted
	deletes map[int][]*history.Op
	quits   map[int]*history.Op // by Session
}

// box is all that happened to one mailbox.
type box struct {
	name     string
	looks    []reading     // reads that are OK, in the order of their returns
	reads    []reading     // those of them that tell UIDs; POP3 does not
	adds     []*history.Op // deliver and append, of every outcome
	stores   []*history.Op // those that did not Fail
	removals []*removal    // those that did not Fail
	mails    []*mail       // in the order of the first mention
	byID     map[string]*mail
	byUID    map[uint32]*mail // whom a UID named first
	pop3     bool             // somebody deletes here by POP3

	others map[uint32]bool // UIDs of mail of others, without an id

	// nameless are the removals and arrivals of messages of which nobody saw what they are.
	nameless, strangers int
}

// reading is a Read with its messages looked up.
type reading struct {
	*history.Op
	mails []*mail // of Mailbox.Messages; nil for a message without an X-Jepsen-Id field
}

// mail is one message id in one mailbox; it has several copies if several attempts took effect.
type mail struct {
	n                    int // place in box.mails
	id                   string
	oks, unknowns, fails int
	invoke               time.Duration // of the first attempt, arrivals too
	ack                  *history.Op   // the first attempt, or move, that was acknowledged
	uids                 []uint32      // of its copies, as far as known
	removals             []*removal
	arrivals             []*removal // moves to here
}

// removal is an operation that takes a message out of a mailbox, and did not Fail.
type removal struct {
	*history.Op                 // Expunge, Move or Delete
	uid         uint32          // 0: not known, POP3 does not tell
	outcome     history.Outcome // of a POP3 deletion, that of its QUIT
	from, until time.Duration   // when it takes effect
	box         *box            // where it takes it out
}

// inbox is the mailbox that mail for an account goes to, and that POP3 shows.
func inbox(b string) string {
	account, _, _ := strings.Cut(b, "/")
	return account + "/INBOX"
}

func newIndex(h *history.History) *index {
	x := &index{h: h, boxes: map[string]*box{}, deletes: map[int][]*history.Op{}, quits: map[int]*history.Op{}}
	for i := range h.Ops {
		x.sort(&h.Ops[i])
	}
	for _, b := range x.boxes {
		x.names = append(x.names, b.name)
		slices.SortStableFunc(b.looks, func(a, b reading) int { return cmp.Compare(a.Return, b.Return) })
		b.lookUp()
	}
	slices.Sort(x.names)
	x.link()
	return x
}

func (x *index) box(name string) *box {
	b := x.boxes[name]
	if b == nil {
		b = &box{name: name, byID: map[string]*mail{}, byUID: map[uint32]*mail{}, others: map[uint32]bool{}}
		x.boxes[name] = b
	}
	return b
}

// sort puts an operation where it belongs. Removals come later, in link, when it is known which UID is which message.
func (x *index) sort(o *history.Op) {
	switch o.Kind {
	case history.Deliver:
		if o.Dest == "" { // else it is for the queue
			x.box(inbox(o.Box)).addAttempt(o)
		}
	case history.Append:
		x.box(o.Box).addAttempt(o)
	case history.Store:
		if o.Outcome != history.Fail {
			b := x.box(o.Box)
			b.stores = append(b.stores, o)
		}
	case history.Read:
		if o.Outcome == history.OK && o.Mailbox != nil {
			b := x.box(o.Box)
			b.looks = append(b.looks, reading{Op: o})
		}
	case history.Delete:
		x.box(inbox(o.Box)).pop3 = true
		x.deletes[o.Session] = append(x.deletes[o.Session], o)
	case history.Quit:
		x.quits[o.Session] = o
	case history.Expunge, history.Move:
		x.box(o.Box)
	}
}

func (b *box) mail(id string, invoke time.Duration) *mail {
	m := b.byID[id]
	if m == nil {
		m = &mail{n: len(b.mails), id: id, invoke: invoke}
		b.byID[id] = m
		b.mails = append(b.mails, m)
	}
	m.invoke = min(m.invoke, invoke)
	return m
}

func (b *box) addAttempt(o *history.Op) {
	b.adds = append(b.adds, o)
	m := b.mail(o.ID, o.Invoke)
	switch o.Outcome {
	case history.OK:
		m.oks++
		m.acked(o)
		b.named(o.UID, m)
	case history.Unknown:
		m.unknowns++
	default:
		m.fails++
	}
}

func (m *mail) acked(o *history.Op) {
	if m.ack == nil || o.Return < m.ack.Return {
		m.ack = o
	}
}

// named notes that a UID is a message's.
func (b *box) named(uid uint32, m *mail) {
	if uid == 0 {
		return
	}
	if b.byUID[uid] == nil {
		b.byUID[uid] = m
	}
	if !slices.Contains(m.uids, uid) {
		m.uids = append(m.uids, uid)
	}
}

func (b *box) lookUp() {
	for i := range b.looks {
		r := &b.looks[i]
		r.mails = make([]*mail, len(r.Mailbox.Messages))
		for k, msg := range r.Mailbox.Messages {
			if msg.ID == "" {
				b.others[msg.UID] = true
			} else {
				r.mails[k] = b.mail(msg.ID, forever)
				b.named(msg.UID, r.mails[k])
			}
		}
		if r.Mailbox.UIDNext != 0 || r.Mailbox.UIDValidity != 0 {
			b.reads = append(b.reads, *r)
		}
	}
}

// link finds the messages that are taken out. A message may be moved on before anybody saw it, so moves go by their time.
func (x *index) link() {
	for i := range x.h.Ops {
		o := &x.h.Ops[i]
		if (o.Kind == history.Expunge || o.Kind == history.Move) && o.Outcome != history.Fail {
			x.remove(x.boxes[o.Box], newRemoval(o, o.UID, o.Outcome, o))
		}
		if q := x.quits[o.Session]; o.Kind == history.Delete && q != nil && o.Outcome != history.Fail && q.Outcome != history.Fail {
			outcome := q.Outcome
			if o.Outcome != history.OK {
				outcome = history.Unknown
			}
			x.remove(x.boxes[inbox(o.Box)], newRemoval(o, o.UID, outcome, q))
		}
	}
	for _, b := range x.boxes {
		for _, r := range b.removals {
			if m := b.byID[r.ID]; r.uid == 0 && m != nil && m.came().hi == 1 && len(m.uids) == 1 {
				r.uid = m.uids[0] // there never was another copy
			}
		}
	}
}

func newRemoval(o *history.Op, uid uint32, outcome history.Outcome, when *history.Op) *removal {
	r := &removal{Op: o, uid: uid, outcome: outcome, from: when.Invoke, until: when.Return}
	if outcome != history.OK {
		r.until = forever
	}
	return r
}

func (x *index) remove(b *box, r *removal) {
	r.box = b
	b.removals = append(b.removals, r)
	m := b.byUID[r.uid]
	if m == nil && r.ID != "" {
		m = b.byID[r.ID]
	}
	if m == nil && b.others[r.uid] {
		return // mail of others is not followed
	}
	if m == nil {
		b.nameless++
	} else {
		m.removals = append(m.removals, r)
	}
	if r.Kind != history.Move {
		return
	}
	dest := x.boxes[r.Dest]
	if dest == nil {
		dest = x.box(r.Dest)
		x.names = append(x.names, r.Dest)
		slices.Sort(x.names)
	}
	if m == nil {
		dest.strangers++
		return
	}
	to := dest.mail(m.id, r.Invoke)
	to.arrivals = append(to.arrivals, r)
	if r.outcome == history.OK && r.DestUID != 0 {
		to.acked(r.Op)
		dest.named(r.DestUID, to)
	}
}
