package checker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// plants are the violations that the checkers must find.
var plants = []struct {
	name, checker, kind string
	do                  func(*planter) bool // false: this history has no place for it
}{
	{"an acknowledged message is lost at every node", "deliver", "lost", func(p *planter) bool {
		b, m := p.mail(calm)
		for _, r := range b.finals() {
			drop(r, m.uids[0])
		}
		return true
	}},
	{"an acknowledged message is lost at one node", "deliver", "lost", func(p *planter) bool {
		b, m := p.mail(calm)
		return drop(b.finals()[p.rng.IntN(3)], m.uids[0])
	}},
	{"a moved message is lost", "deliver", "lost", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool {
			return m.created().hi == 0 && len(m.arrivals) == 1 && m.ack != nil && len(m.removals) == 0 && len(m.uids) == 1
		})
		return m != nil && drop(b.finals()[0], m.uids[0])
	}},
	{"a message of unknown outcome was seen, and is gone", "deliver", "vanished", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool {
			return m.oks == 0 && m.unknowns > 0 && len(m.uids) > 0 && len(m.removals)+len(m.arrivals) == 0
		})
		return m != nil && drop(b.finals()[1], m.uids[0])
	}},
	{"a message that was sent once is there twice", "deliver", "duplicated", func(p *planter) bool {
		b, m := p.mail(calm)
		addNew(b.finals()[p.rng.IntN(3)], m.id)
		return true
	}},
	{"a message is there once more than attempts of unknown outcome", "deliver", "duplicated", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool { return m.unknowns > 0 && len(m.removals)+len(m.arrivals) == 0 })
		if m == nil {
			return false
		}
		for range m.oks + m.unknowns + 1 - len(m.uids) {
			addNew(b.finals()[0], m.id)
		}
		return true
	}},
	{"a message is there twice after one of two possible copies was expunged", "deliver", "duplicated", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool {
			gs := groupsOf(m.removals)
			return m.oks == 1 && m.unknowns == 1 && len(gs) == 1 && gs[0].gone && gs[0].uid != 0 && len(m.arrivals) == 0 && len(m.uids) == 1
		})
		if m == nil {
			return false
		}
		for range 3 {
			addNew(b.finals()[0], m.id)
		}
		return true
	}},
	{"an expunged message is there in the end", "deliver", "undone", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool {
			gs := groupsOf(m.removals)
			return m.oks+m.unknowns == 1 && len(gs) == 1 && gs[0].gone && gs[0].uid != 0 && len(m.arrivals) == 0
		})
		return m != nil && insert(b.finals()[0], history.Message{UID: m.removals[0].uid, ID: m.id})
	}},
	{"a refused message is there", "deliver", "phantom", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool { return m.oks+m.unknowns == 0 && m.fails > 0 })
		if m == nil { // all refused messages went through at last: refuse one for good
			_, m = p.mail(calm)
			m.ack.Outcome = history.Fail
			return true
		}
		addNew(b.finals()[0], m.id)
		return true
	}},
	{"a message that nobody sent is there", "deliver", "phantom", func(p *planter) bool {
		b, _ := p.mail(calm)
		addNew(p.readWhere(b, func(*history.Op) bool { return true }), "ghost")
		return true
	}},
	{"a message is there before it was sent", "deliver", "phantom", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool { return calm(b, m) && m.invoke > time.Second })
		if m == nil {
			return false
		}
		r := p.readWhere(b, func(o *history.Op) bool { return o.Return < m.invoke })
		return r != nil && insert(r, history.Message{UID: m.uids[0], ID: m.id})
	}},
	{"a read misses a message that others see", "deliver", "stale", missInOneRead},
	{"a message of an unknown move is in both mailboxes", "deliver", "moved wrong", func(p *planter) bool {
		from, to, m, there := p.unknownMove()
		if m == nil {
			return false
		}
		if there { // it was moved: put it back
			return insert(from.finals()[0], history.Message{UID: m.uids[0], ID: m.id})
		}
		addNew(to.finals()[0], m.id)
		return true
	}},
	{"a message of an unknown move is in neither mailbox", "deliver", "moved wrong", func(p *planter) bool {
		from, to, m, there := p.unknownMove()
		if m == nil {
			return false
		}
		b, uid := from, m.uids[0]
		if there {
			b, uid = to, to.byID[m.id].uids[0]
		}
		return drop(b.finals()[0], uid)
	}},

	{"UIDVALIDITY changes", "imap", "uidvalidity changed", func(p *planter) bool {
		b, _ := p.mail(calm)
		b.reads[len(b.reads)/2].Mailbox.UIDValidity++
		return true
	}},
	{"a UID names another message later", "imap", "uid reused", func(p *planter) bool {
		b, m := p.mail(calm)
		r := b.finals()[p.rng.IntN(3)]
		_, other := p.mail(func(ob *box, o *mail) bool { return ob == b && o != m })
		r.Mailbox.Messages[place(r, m.uids[0])].ID = other.id
		return true
	}},
	{"APPENDUID tells a UID that another message has", "imap", "uid reused", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool { return calm(b, m) && m.ack.Kind == history.Append })
		_, other := p.mail(func(ob *box, o *mail) bool { return ob == b && o != m && calm(b, o) })
		if other == nil {
			return false
		}
		m.ack.UID = other.uids[0]
		return true
	}},
	{"COPYUID tells a UID that another message has", "imap", "uid reused", func(p *planter) bool {
		o := p.op(func(o *history.Op) bool { return o.Kind == history.Move && o.Outcome == history.OK && o.DestUID != 0 })
		if o == nil {
			return false
		}
		_, other := p.mail(func(b *box, m *mail) bool { return b.name == o.Dest && calm(b, m) })
		if other == nil {
			return false
		}
		o.DestUID = other.uids[0]
		return true
	}},
	{"UIDNEXT is not above a UID", "imap", "uid at uidnext", func(p *planter) bool {
		b, _ := p.mail(calm)
		r := p.readWhere(b, func(o *history.Op) bool { return len(o.Mailbox.Messages) > 0 })
		r.Mailbox.UIDNext = r.Mailbox.Messages[len(r.Mailbox.Messages)-1].UID
		return true
	}},
	{"UIDs do not ascend", "imap", "uid order", func(p *planter) bool {
		b, _ := p.mail(calm)
		r := p.readWhere(b, func(o *history.Op) bool { return len(o.Mailbox.Messages) > 1 })
		if r == nil {
			return false
		}
		ms := slices.Clone(r.Mailbox.Messages)
		ms[0], ms[1] = ms[1], ms[0]
		r.Mailbox.Messages = ms
		return true
	}},
	{"UIDNEXT falls", "imap", "uidnext fell", func(p *planter) bool {
		b, _ := p.mail(calm)
		b.finals()[2].Mailbox.UIDNext--
		return true
	}},
	{"HIGHESTMODSEQ falls", "imap", "highestmodseq fell", func(p *planter) bool {
		b, _ := p.mail(calm)
		b.finals()[2].Mailbox.HighestModSeq--
		return true
	}},
	{"the MODSEQ of a message falls", "imap", "modseq fell", func(p *planter) bool {
		b, m := p.mail(calm)
		r := b.finals()[2]
		r.Mailbox.Messages[place(r, m.uids[0])].ModSeq--
		return true
	}},
	{"the MODSEQ that a STORE told is forgotten", "imap", "modseq fell", func(p *planter) bool {
		b, m := p.mail(calm)
		o := p.op(func(o *history.Op) bool {
			return o.Kind == history.Store && o.Outcome == history.OK && o.Box == b.name && o.UID == m.uids[0]
		})
		if o == nil {
			return false
		}
		o.ModSeq = b.finals()[2].Mailbox.HighestModSeq + 1
		return true
	}},
	{"flags change and MODSEQ does not", "imap", "flags without modseq", func(p *planter) bool {
		b, m := p.mail(calm)
		r := b.finals()[1]
		r.Mailbox.Messages[place(r, m.uids[0])].Flags = []string{`\answered`}
		return true
	}},
	{"MODSEQ is above HIGHESTMODSEQ", "imap", "modseq above highestmodseq", func(p *planter) bool {
		b, m := p.mail(calm)
		r := b.finals()[1]
		r.Mailbox.Messages[place(r, m.uids[0])].ModSeq = r.Mailbox.HighestModSeq + 1
		return true
	}},
	{"an expunged message returns", "imap", "returned", func(p *planter) bool {
		o := p.op(func(o *history.Op) bool { return o.Kind == history.Expunge && o.Outcome == history.OK })
		r := p.readWhere(p.x.boxes[o.Box], func(r *history.Op) bool { return r.Invoke > o.Return })
		return r != nil && insert(r, history.Message{UID: o.UID, ID: p.x.boxes[o.Box].byUID[o.UID].id})
	}},
	{"a message that a read did not show any more returns", "imap", "returned", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool {
			return len(m.uids) == 1 && len(m.removals) == 1 && m.removals[0].outcome == history.Unknown && m.removals[0].uid != 0 && place(b.finals()[0], m.uids[0]) < 0
		})
		return m != nil && insert(b.finals()[2], history.Message{UID: m.uids[0], ID: m.id})
	}},
	{"a new message gets an old UID", "imap", "uid below uidnext", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool { return calm(b, m) && m.ack.Kind == history.Deliver && m.uids[0] > 1 })
		if m == nil || b.reads[0].Invoke > time.Second {
			return false
		}
		m.ack.Outcome = history.Unknown // else it would be lost, and return
		for _, r := range b.reads {
			drop(r.Op, m.uids[0])
		}
		return insert(b.finals()[2], history.Message{UID: m.uids[0], ID: m.id})
	}},
	{"of two deliveries the later one gets the smaller UID", "imap", "uid below uidnext", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool { return calm(b, m) && m.ack.Kind == history.Deliver })
		_, later := p.mail(func(ob *box, o *mail) bool {
			return ob == b && calm(b, o) && o.ack.Kind == history.Deliver && o.ack.Invoke > m.ack.Return
		})
		if later == nil {
			return false
		}
		for _, r := range b.reads {
			i, j := place(r.Op, m.uids[0]), place(r.Op, later.uids[0])
			switch ms := r.Mailbox.Messages; {
			case i >= 0 && j >= 0:
				ms[i].ID, ms[j].ID = ms[j].ID, ms[i].ID
			case i >= 0:
				drop(r.Op, m.uids[0])
			}
		}
		return true
	}},
	{"APPENDUID tells a UID below UIDNEXT", "imap", "uid below uidnext", func(p *planter) bool {
		o := p.op(func(o *history.Op) bool {
			return o.Kind == history.Append && o.Outcome == history.OK && slices.ContainsFunc(p.x.boxes[o.Box].reads, func(r reading) bool { return r.Return < o.Invoke && r.Mailbox.UIDNext > 1 })
		})
		if o == nil {
			return false
		}
		o.UID = 1
		return true
	}},

	{"a read goes back in time", "linearizable", "not linearizable", func(p *planter) bool {
		r := p.op(func(o *history.Op) bool { return o.Kind == history.Read && o.Outcome == history.OK && old(p, o) != nil })
		if r == nil {
			return false
		}
		r.Mailbox = old(p, r).Mailbox
		return true
	}},
	{"a read misses an acknowledged message", "linearizable", "not linearizable", missInOneRead},
	{"a read shows a message before it was sent", "linearizable", "not linearizable", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool { return calm(b, m) && m.invoke > time.Second && !b.pop3 })
		if m == nil {
			return false
		}
		r := p.readWhere(b, func(o *history.Op) bool { return o.Return < m.invoke })
		return r != nil && insert(r, history.Message{UID: m.uids[0], ID: m.id})
	}},
	{"an expunged message is in a later read", "linearizable", "not linearizable", func(p *planter) bool {
		o := p.op(func(o *history.Op) bool { return o.Kind == history.Expunge && o.Outcome == history.OK })
		r := p.readWhere(p.x.boxes[o.Box], func(r *history.Op) bool { return r.Invoke > o.Return })
		return r != nil && insert(r, history.Message{UID: o.UID, ID: p.x.boxes[o.Box].byUID[o.UID].id})
	}},
	{"APPENDUID tells another UID than reads do", "linearizable", "not linearizable", func(p *planter) bool {
		_, m := p.mail(func(b *box, m *mail) bool { return calm(b, m) && m.ack.Kind == history.Append })
		m.ack.UID += 1000
		return true
	}},
	{"one APPEND takes effect twice", "linearizable", "not linearizable", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool { return calm(b, m) && !b.pop3 })
		for _, r := range b.finals() {
			addNew(r, m.id)
		}
		return true
	}},
	{"a read misses an acknowledged flag", "linearizable", "not linearizable", missFlag},
	{"a read shows a flag that nobody set", "linearizable", "not linearizable", func(p *planter) bool {
		b, m := p.mail(func(b *box, m *mail) bool { return calm(b, m) && !b.pop3 })
		r := b.finals()[1]
		r.Mailbox.Messages[place(r, m.uids[0])].Flags = []string{`\answered`}
		return true
	}},
	{"a moved message stays in a later read", "linearizable", "not linearizable", func(p *planter) bool {
		o := p.op(func(o *history.Op) bool { return o.Kind == history.Move && o.Outcome == history.OK })
		r := p.readWhere(p.x.boxes[o.Box], func(r *history.Op) bool { return r.Invoke > o.Return })
		return r != nil && insert(r, history.Message{UID: o.UID, ID: p.x.boxes[o.Box].byUID[o.UID].id})
	}},

	{"a client does not see its own message", "session", "read your writes", func(p *planter) bool {
		_, m := p.mail(func(b *box, m *mail) bool { return calm(b, m) && nextRead(p, m.ack) != nil })
		return m != nil && drop(nextRead(p, m.ack), m.uids[0])
	}},
	{"a client does not see its own flag", "session", "read your writes", missFlag},
	{"a client sees what it has expunged", "session", "read your writes", func(p *planter) bool {
		o := p.op(func(o *history.Op) bool {
			return o.Kind == history.Expunge && o.Outcome == history.OK && nextRead(p, o) != nil
		})
		return o != nil && insert(nextRead(p, o), history.Message{UID: o.UID, ID: p.x.boxes[o.Box].byUID[o.UID].id})
	}},
	{"a message disappears", "session", "monotonic reads", func(p *planter) bool {
		stays := func(o *history.Op) int { // a message that nobody takes out
			return slices.IndexFunc(o.Mailbox.Messages, func(m history.Message) bool { return len(p.x.boxes[o.Box].byID[m.ID].removals) == 0 })
		}
		a, b := p.consecutive(func(a, _ *history.Op) bool { return stays(a) >= 0 })
		return a != nil && drop(b, a.Mailbox.Messages[stays(a)].UID)
	}},
	{"a message returns", "session", "monotonic reads", func(p *planter) bool {
		a, b := p.consecutive(func(a, b *history.Op) bool { return len(a.Mailbox.Messages) > 0 && a.Mailbox.UIDNext > 2 })
		if a == nil {
			return false
		}
		uid := a.Mailbox.Messages[0].UID
		return place(b, uid) >= 0 && drop(a, uid)
	}},
	{"UIDNEXT falls for a client", "session", "monotonic reads", func(p *planter) bool {
		a, b := p.consecutive(func(a, b *history.Op) bool { return true })
		b.Mailbox.UIDNext = a.Mailbox.UIDNext - 1
		return true
	}},
	{"the MODSEQ of a message falls for a client", "session", "monotonic reads", func(p *planter) bool {
		a, b := p.consecutive(func(a, b *history.Op) bool {
			return len(a.Mailbox.Messages) > 0 && place(b, a.Mailbox.Messages[0].UID) >= 0
		})
		if a == nil {
			return false
		}
		b.Mailbox.Messages[place(b, a.Mailbox.Messages[0].UID)].ModSeq = a.Mailbox.Messages[0].ModSeq - 1
		return true
	}},

	{"a message is there after QUIT was acknowledged", "pop3", "deleted, yet there", func(p *planter) bool {
		s := p.pop3(func(s pop3Session) bool { return s.quit != nil && s.quit.Outcome == history.OK })
		if s.b == nil {
			return false
		}
		r := p.readWhere(s.b, func(o *history.Op) bool { return o.Invoke > s.quit.Return })
		return r != nil && insert(r, history.Message{UID: s.b.byID[s.dele[0].ID].uids[0], ID: s.dele[0].ID})
	}},
	{"a session without QUIT deleted", "pop3", "deleted without quit", func(p *planter) bool {
		s := p.pop3(func(s pop3Session) bool { return s.quit == nil })
		return s.b != nil && drop(s.b.finals()[0], s.b.byID[s.dele[0].ID].uids[0])
	}},
	{"a session whose QUIT was refused deleted", "pop3", "deleted without quit", func(p *planter) bool {
		s := p.pop3(func(s pop3Session) bool { return s.quit != nil && s.quit.Outcome == history.Fail })
		return s.b != nil && drop(s.b.finals()[0], s.b.byID[s.dele[0].ID].uids[0])
	}},
	{"a QUIT of unknown outcome did half", "pop3", "torn quit", func(p *planter) bool {
		s := p.pop3(func(s pop3Session) bool {
			return s.quit != nil && s.quit.Outcome == history.Unknown && len(s.dele) > 1
		})
		if s.b == nil {
			return false
		}
		r, m := s.b.finals()[0], s.b.byID[s.dele[0].ID]
		return drop(r, m.uids[0]) || insert(r, history.Message{UID: m.uids[0], ID: m.id})
	}},
	{"a message is gone between DELE and QUIT", "pop3", "deleted without quit", func(p *planter) bool {
		s := p.pop3(func(s pop3Session) bool {
			return s.quit != nil && slices.ContainsFunc(s.b.reads, func(r reading) bool { return r.Invoke > s.dele[len(s.dele)-1].Return && r.Return < s.quit.Invoke })
		})
		if s.b == nil {
			return false
		}
		r := p.readWhere(s.b, func(o *history.Op) bool { return o.Invoke > s.dele[len(s.dele)-1].Return && o.Return < s.quit.Invoke })
		return drop(r, s.b.byID[s.dele[0].ID].uids[0])
	}},

	{"a state hash differs", "hashes", "state differs", func(p *planter) bool {
		p.h.Notes[p.rng.IntN(20)].Text = "another"
		return true
	}},
	{"a panic", "logs", "log line", logLine("panic: runtime error: index out of range [3] with length 3")},
	{"a race", "logs", "log line", logLine("WARNING: DATA RACE")},
	{"a fatal error", "logs", "log line", logLine("fatal error: concurrent map writes")},
	{"a broken invariant", "logs", "log line", logLine(`level=ERROR msg="invariant broken" pkg=state`)},
	{"a dump of goroutines", "logs", "log line", logLine("goroutine 17 [running]:")},
}

// TestPlantedViolationsAreFound spoils correct histories in one place each.
func TestPlantedViolationsAreFound(t *testing.T) {
	const want = 5 // histories for each
	base := uint64(time.Now().UnixNano()) % 1_000_000
	t.Logf("seeds from %d", base)
	for _, plant := range plants {
		t.Run(plant.checker+": "+plant.name, func(t *testing.T) {
			t.Parallel()
			planted := 0
			for seed := base; planted < want && seed < base+200; seed++ {
				h := simulate(seed, 2*time.Second, float64(2+seed%6)/100)
				if !plant.do(newPlanter(h, seed)) {
					continue
				}
				planted++
				if r := resultOf(h, plant.checker); r.Verdict != Failed || !slices.ContainsFunc(r.Violations, func(v Violation) bool { return v.Kind == plant.kind }) {
					t.Errorf("seed %d: want %q, and got %s: %v %v", seed, plant.kind, r.Verdict, r.Violations, r.Counts)
				}
			}
			if planted < want {
				t.Errorf("only %d histories had a place for it", planted)
			}
		})
	}
}

func resultOf(h *history.History, checker string) Result {
	for _, r := range All(h, Options{}) {
		if r.Checker == checker {
			return r
		}
	}
	panic(fmt.Sprintf("no checker %q", checker))
}
