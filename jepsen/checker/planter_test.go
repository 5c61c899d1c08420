package checker

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// planter spoils a correct history in one place.
type planter struct {
	h   *history.History
	x   *index // of the history before
	rng *rand.Rand
}

func newPlanter(h *history.History, seed uint64) *planter {
	return &planter{h: h, x: newIndex(h), rng: rand.New(rand.NewPCG(seed, 2))}
}

// mail picks a message at random.
func (p *planter) mail(fits func(b *box, m *mail) bool) (*box, *mail) {
	names := slices.Clone(p.x.names)
	p.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names {
		b := p.x.boxes[name]
		ms := slices.DeleteFunc(slices.Clone(b.mails), func(m *mail) bool { return !fits(b, m) })
		if len(ms) > 0 {
			return b, ms[p.rng.IntN(len(ms))]
		}
	}
	return nil, nil
}

// op picks an operation at random.
func (p *planter) op(fits func(*history.Op) bool) *history.Op {
	var fit []*history.Op
	for i := range p.h.Ops {
		if fits(&p.h.Ops[i]) {
			fit = append(fit, &p.h.Ops[i])
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[p.rng.IntN(len(fit))]
}

// calm is a message that was sent once with success, and left alone.
func calm(_ *box, m *mail) bool {
	return m.oks == 1 && m.unknowns == 0 && len(m.uids) == 1 && len(m.removals)+len(m.arrivals) == 0
}

func (b *box) finals() []*history.Op {
	var rs []*history.Op
	for _, r := range b.reads {
		if r.Mailbox.Final {
			rs = append(rs, r.Op)
		}
	}
	return rs
}

// readWhere is a random read of the mailbox.
func (p *planter) readWhere(b *box, fits func(*history.Op) bool) *history.Op {
	return p.op(func(o *history.Op) bool {
		return o.Kind == history.Read && o.Box == b.name && o.Outcome == history.OK && fits(o)
	})
}

func place(o *history.Op, uid uint32) int {
	return slices.IndexFunc(o.Mailbox.Messages, func(m history.Message) bool { return m.UID == uid })
}

func drop(o *history.Op, uid uint32) bool {
	i := place(o, uid)
	if i >= 0 {
		o.Mailbox.Messages = slices.Delete(slices.Clone(o.Mailbox.Messages), i, i+1)
	}
	return i >= 0
}

func insert(o *history.Op, m history.Message) bool {
	if place(o, m.UID) >= 0 {
		return false
	}
	o.Mailbox.Messages = append(slices.Clone(o.Mailbox.Messages), m)
	slices.SortFunc(o.Mailbox.Messages, func(a, b history.Message) int { return cmp.Compare(a.UID, b.UID) })
	o.Mailbox.UIDNext = max(o.Mailbox.UIDNext, m.UID+1)
	return true
}

// addNew gives a message the next UID.
func addNew(o *history.Op, id string) {
	o.Mailbox.HighestModSeq++
	insert(o, history.Message{UID: o.Mailbox.UIDNext, ID: id, ModSeq: o.Mailbox.HighestModSeq})
}

// consecutive picks two reads of one client of one mailbox, one right after the other.
func (p *planter) consecutive(fits func(a, b *history.Op) bool) (*history.Op, *history.Op) {
	type key struct {
		workload, box string
		process       int
	}
	last := map[key]*history.Op{}
	var pairs [][2]*history.Op
	for i := range p.h.Ops {
		o := &p.h.Ops[i]
		k := key{o.Workload, o.Box, o.Process}
		if o.Kind != history.Read || o.Outcome != history.OK {
			continue
		}
		if old := last[k]; old != nil && fits(old, o) {
			pairs = append(pairs, [2]*history.Op{old, o})
		}
		last[k] = o
	}
	if len(pairs) == 0 {
		return nil, nil
	}
	pair := pairs[p.rng.IntN(len(pairs))]
	return pair[0], pair[1]
}

func logLine(text string) func(*planter) bool {
	return func(p *planter) bool {
		p.h.Notes = append(p.h.Notes, history.Note{Node: "n1", Kind: "log", Text: text})
		return true
	}
}

// missInOneRead takes an acknowledged message out of one read that is not final.
func missInOneRead(p *planter) bool {
	b, m := p.mail(func(b *box, m *mail) bool { return calm(b, m) && m.ack.Return < time.Second && !b.pop3 })
	if m == nil {
		return false
	}
	r := p.readWhere(b, func(o *history.Op) bool { return o.Invoke > m.ack.Return && !o.Mailbox.Final })
	return r != nil && drop(r, m.uids[0])
}

// missFlag takes a flag out of a client's next read, which nobody else changes.
func missFlag(p *planter) bool {
	fits := func(o *history.Op) bool {
		r := nextRead(p, o)
		if o.Kind != history.Store || o.Outcome != history.OK || !o.Add || r == nil || place(r, o.UID) < 0 {
			return false
		}
		alone := !slices.ContainsFunc(p.x.boxes[o.Box].stores, func(s *history.Op) bool { return s != o && s.UID == o.UID && s.Flag == o.Flag })
		return alone && len(p.x.boxes[o.Box].byUID[o.UID].arrivals) == 0
	}
	o := p.op(fits)
	if o == nil {
		return false
	}
	r := nextRead(p, o)
	m := &r.Mailbox.Messages[place(r, o.UID)]
	m.Flags = slices.DeleteFunc(slices.Clone(m.Flags), func(f string) bool { return f == o.Flag })
	return true
}

// nextRead is the client's next read of the mailbox after an operation.
func nextRead(p *planter, o *history.Op) *history.Op {
	b := p.x.boxes[o.Box]
	if b == nil {
		return nil
	}
	for _, r := range b.reads {
		if r.Workload == o.Workload && r.Process == o.Process && r.Invoke > o.Return {
			return r.Op
		}
	}
	return nil
}

// old is a read from before another read with a smaller UIDNEXT than that one's, which returned before o began; nil if there is none.
func old(p *planter, o *history.Op) *history.Op {
	b := p.x.boxes[o.Box]
	if b.pop3 || len(b.reads) == 0 || b.reads[0].Op == o {
		return nil
	}
	for _, r := range b.reads {
		if r.Return < o.Invoke && r.Mailbox.UIDNext > b.reads[0].Mailbox.UIDNext {
			return b.reads[0].Op
		}
	}
	return nil
}

// unknownMove finds a message that was sent once, and that one move of unknown outcome may have moved.
func (p *planter) unknownMove() (from, to *box, m *mail, there bool) {
	from, m = p.mail(func(b *box, m *mail) bool {
		if m.oks != 1 || m.unknowns > 0 || len(m.uids) != 1 || len(m.removals) != 1 || len(m.arrivals) > 0 {
			return false
		}
		r := m.removals[0]
		d := p.x.boxes[r.Dest]
		return r.Kind == history.Move && r.outcome == history.Unknown && d != nil && len(d.finals()) == 3 && len(d.byID[m.id].removals) == 0
	})
	if m == nil {
		return nil, nil, nil, false
	}
	to = p.x.boxes[m.removals[0].Dest]
	return from, to, m, len(to.byID[m.id].uids) > 0
}

// pop3 picks a session with deletions that can be judged.
func (p *planter) pop3(fits func(pop3Session) bool) pop3Session {
	for n := range p.x.deletes {
		if s := p.x.pop3Session(n); len(s.dele) > 0 && len(s.b.byID[s.dele[0].ID].uids) == 1 && fits(s) {
			return s
		}
	}
	return pop3Session{}
}
