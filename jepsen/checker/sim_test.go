package checker

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// sim is a correct store with clients, in virtual time: every operation takes effect at one instant within its interval, or, when its
// outcome is Unknown, at any later one, or never.
type sim struct {
	delivered map[string]bool // by mailbox and id
	rng       *rand.Rand
	now       time.Duration
	events    events
	seq       int
	h         history.History
	store     map[string]*simBox
	pass      map[string]string // by account
	ids       int
	conns     int
	until     time.Duration
	unk       float64
	boxes     []string // of IMAP clients
	pops      []string // of POP3 clients
}

type simBox struct {
	next   uint32
	modseq uint64
	msgs   []history.Message
}

type event struct {
	at  time.Duration
	seq int
	f   func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	x := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return x
}

func (s *sim) after(d time.Duration, f func()) {
	s.seq++
	heap.Push(&s.events, event{s.now + d, s.seq, f})
}

func (s *sim) box(name string) *simBox {
	b := s.store[name]
	if b == nil {
		b = &simBox{next: 1, modseq: 1}
		s.store[name] = b
	}
	return b
}

func (s *sim) node() string { return fmt.Sprintf("n%d", 1+s.rng.IntN(3)) }

func (s *sim) ms(max int) time.Duration {
	return time.Duration(1+s.rng.IntN(max*1000)) * time.Microsecond
}

// do runs one operation. effect may fill in what the server tells; then gets the operation as it was recorded.
func (s *sim) do(o history.Op, effect func(*history.Op), then func(history.Op)) {
	o.Invoke = s.now
	if o.Node == "" {
		o.Node = s.node()
	}
	d := s.ms(40)
	o.Outcome = history.OK
	x := s.rng.Float64()
	asked := o
	switch {
	case x < s.unk:
		o.Outcome, o.Error = history.Unknown, "reset"
		if s.rng.IntN(2) == 0 {
			s.after(s.ms(300), func() { lost := asked; effect(&lost) }) // its answer is lost
		}
	case x < s.unk*1.3:
		o.Outcome, o.Error = history.Fail, "refused"
	default:
		s.after(time.Duration(s.rng.Int64N(int64(d))), func() { effect(&o) })
	}
	s.after(d, func() {
		o.Return = s.now
		s.h.Ops = append(s.h.Ops, o)
		s.after(s.ms(3), func() { then(o) })
	})
}

func (b *simBox) add(id string, flags []string) uint32 {
	b.modseq++
	b.msgs = append(b.msgs, history.Message{UID: b.next, ID: id, Flags: slices.Clone(flags), ModSeq: b.modseq})
	b.next++
	return b.next - 1
}

func (b *simBox) find(uid uint32) int {
	return slices.IndexFunc(b.msgs, func(m history.Message) bool { return m.UID == uid })
}

func (b *simBox) take(uid uint32) (history.Message, bool) {
	i := b.find(uid)
	if i < 0 {
		return history.Message{}, false
	}
	m := b.msgs[i]
	b.modseq++
	b.msgs = slices.Delete(b.msgs, i, i+1)
	return m, true
}

func (b *simBox) store(o *history.Op) {
	i := b.find(o.UID)
	if i < 0 || slices.Contains(b.msgs[i].Flags, o.Flag) == o.Add {
		return
	}
	m := &b.msgs[i]
	m.Flags = slices.Clone(m.Flags)
	if o.Add {
		m.Flags = append(m.Flags, o.Flag)
		slices.Sort(m.Flags)
	} else {
		m.Flags = slices.DeleteFunc(m.Flags, func(f string) bool { return f == o.Flag })
	}
	b.modseq++
	m.ModSeq, o.ModSeq = b.modseq, b.modseq
}

func (b *simBox) snapshot() *history.Mailbox {
	return &history.Mailbox{UIDValidity: 7, UIDNext: b.next, HighestModSeq: b.modseq, Messages: slices.Clone(b.msgs)}
}

// simClient is an IMAP client, which changes only what it has seen.
type simClient struct {
	*sim
	n    int
	seen map[string][]history.Message
}

func (s *sim) id() string { s.ids++; return fmt.Sprintf("m%d", s.ids) }

func (c *simClient) next() {
	if c.now >= c.until {
		return
	}
	name := c.boxes[c.rng.IntN(len(c.boxes))]
	o := history.Op{Workload: "mix", Process: c.n, Box: name}
	b := c.box(name)
	then := func(history.Op) { c.next() }
	if x := c.rng.IntN(100); len(c.seen[name]) == 0 || x < 45 {
		switch {
		case x < 25:
			o.Kind = history.Read
			c.do(o, func(o *history.Op) { o.Mailbox = b.snapshot() }, func(o history.Op) {
				if o.Outcome == history.OK {
					c.seen[name] = o.Mailbox.Messages
				}
				c.next()
			})
		case x < 35:
			c.send(history.Deliver, o, c.id(), 1, c.next)
		default:
			c.send(history.Append, o, c.id(), 1, c.next)
		}
		return
	}
	m := c.seen[name][c.rng.IntN(len(c.seen[name]))]
	o.UID, o.ID = m.UID, m.ID
	switch x := c.rng.IntN(100); {
	case x < 60:
		o.Kind, o.Flag, o.Add = history.Store, []string{`\seen`, `\flagged`, "$work"}[c.rng.IntN(3)], c.rng.IntN(3) > 0
		c.do(o, func(o *history.Op) { b.store(o) }, then)
	case x < 80:
		o.Kind = history.Expunge
		c.do(o, func(o *history.Op) { b.take(o.UID) }, then)
	default:
		o.Kind, o.Dest = history.Move, c.boxes[c.rng.IntN(len(c.boxes))]
		if o.Dest == o.Box {
			o.Dest = "u0@example.test/Archive"
		}
		c.do(o, func(o *history.Op) {
			if m, ok := c.box(o.Box).take(o.UID); ok {
				o.DestUID = c.box(o.Dest).add(m.ID, m.Flags)
			}
		}, then)
	}
}

// send tries until it is acknowledged, three times, or until it gives up.
func (s *sim) send(kind history.Kind, o history.Op, id string, attempt int, then func()) {
	o.Kind, o.ID, o.Attempt = kind, id, attempt
	if kind == history.Deliver {
		o.Box = inbox(o.Box)
	}
	s.do(o, func(o *history.Op) {
		if kind == history.Deliver { // a system that is right knows what it has
			if k := o.Box + " " + o.ID; s.delivered[k] {
				return
			} else {
				s.delivered[k] = true
			}
		}
		uid := s.box(o.Box).add(o.ID, nil)
		if kind == history.Append {
			o.UID = uid
		}
	}, func(got history.Op) {
		if got.Outcome != history.OK && attempt < 3 && s.rng.IntN(3) > 0 {
			s.send(kind, o, id, attempt+1, then)
			return
		}
		then()
	})
}

// popClient delivers to its mailbox, reads it, and deletes by POP3.
func (s *sim) popClient(n int) {
	if s.now >= s.until {
		return
	}
	name := s.pops[s.rng.IntN(len(s.pops))]
	o := history.Op{Workload: "pop3", Process: n, Box: name}
	again := func() { s.popClient(n) }
	switch x := s.rng.IntN(10); {
	case x < 4:
		s.send(history.Deliver, o, s.id(), 1, again)
	case x < 7:
		o.Kind = history.Read
		s.do(o, func(o *history.Op) { o.Mailbox = s.box(name).snapshot() }, func(history.Op) { again() })
	default:
		s.conns++
		o.Session, o.Node = s.conns, s.node()
		s.dele(o, slices.Clone(s.box(name).msgs), nil, again)
	}
}

// dele marks some of the messages that the session saw, then sends QUIT, or not.
func (s *sim) dele(o history.Op, saw, marked []history.Message, then func()) {
	if len(saw) > 0 && len(marked) < 3 && s.rng.IntN(4) > 0 {
		m := saw[s.rng.IntN(len(saw))]
		saw = slices.DeleteFunc(saw, func(x history.Message) bool { return x.ID == m.ID })
		o.Kind, o.ID = history.Delete, m.ID
		s.do(o, func(*history.Op) {}, func(got history.Op) {
			if got.Outcome != history.OK {
				then()
				return
			}
			s.dele(o, saw, append(marked, m), then)
		})
		return
	}
	if s.rng.IntN(4) == 0 {
		then()
		return
	}
	o.Kind, o.ID = history.Quit, ""
	s.do(o, func(o *history.Op) {
		for _, m := range marked {
			s.box(o.Box).take(m.UID)
		}
	}, func(history.Op) { then() })
}

// admin changes passwords, and others log in with new and old ones.
func (s *sim) admin(n int, tried []string) {
	if s.now >= s.until {
		return
	}
	account := "u0@example.test"
	o := history.Op{Workload: "accounts", Process: n, Box: account}
	if s.rng.IntN(4) == 0 {
		o.Kind, o.Value = history.Password, fmt.Sprintf("p%d-%d", n, len(tried))
		s.do(o, func(o *history.Op) { s.pass[account] = o.Value }, func(history.Op) { s.admin(n, append(tried, o.Value)) })
		return
	}
	o.Kind, o.Value = history.Login, "first"
	if len(tried) > 0 && s.rng.IntN(3) > 0 {
		o.Value = tried[len(tried)-1-s.rng.IntN(min(2, len(tried)))]
	}
	s.do(o, func(o *history.Op) {
		if s.pass[account] != o.Value {
			o.Outcome, o.Error = history.Fail, "auth: wrong password"
		}
	}, func(history.Op) { s.admin(n, tried) })
}

// remote accepts mail for others, which a sink gets some time later, twice if a node was killed just then.
func (s *sim) remote(n int) {
	if s.now >= s.until {
		return
	}
	o := history.Op{Workload: "queue", Process: n, Kind: history.Accept, ID: s.id(), Dest: "someone@remote.test"}
	s.do(o, func(o *history.Op) {
		sink := history.Op{Workload: "queue", Kind: history.Sink, Node: o.Node, ID: o.ID, Dest: o.Dest}
		receive := func() {
			got := sink
			got.Invoke, got.Return, got.Outcome = s.now, s.now+2*time.Millisecond, history.OK
			s.after(2*time.Millisecond, func() { s.h.Ops = append(s.h.Ops, got) })
		}
		s.after(s.ms(50), func() {
			receive()
			for _, f := range s.h.Faults {
				if s.now > f.Start && s.now < f.End && s.rng.IntN(2) == 0 {
					s.after(s.ms(500), receive)
				}
			}
		})
	}, func(history.Op) { s.remote(n) })
}

// simulate makes a correct history of some seconds, with few clients of every kind.
func simulate(seed uint64, length time.Duration, unknown float64) *history.History {
	return simulateMany(seed, length, unknown, 5, 4)
}

// simulateMany has more IMAP clients and accounts.
func simulateMany(seed uint64, length time.Duration, unknown float64, clients, accounts int) *history.History {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 1)), delivered: map[string]bool{}, store: map[string]*simBox{}, pass: map[string]string{"u0@example.test": "first"}, until: length, unk: unknown}
	s.h.Run = history.Run{Seed: seed, Nodes: 3, Time: length}
	for i := range accounts {
		s.boxes = append(s.boxes, fmt.Sprintf("u%d@example.test/INBOX", i))
	}
	s.boxes = append(s.boxes, "u0@example.test/Work", "u1@example.test/Work")
	s.pops = []string{"p0@example.test/INBOX", "p1@example.test/INBOX"}
	for t := length / 5; t < length; t += length / 4 {
		s.h.Faults = append(s.h.Faults, history.Fault{Name: "kill leader", Nodes: []string{s.node()}, Start: t, End: t + length/10})
	}
	for n := range clients {
		c := &simClient{sim: s, n: n, seen: map[string][]history.Message{}}
		s.after(s.ms(5), c.next)
	}
	for n := range 3 {
		s.after(s.ms(5), func() { s.popClient(n) })
		s.after(s.ms(5), func() { s.admin(n, nil) })
		s.after(s.ms(5), func() { s.remote(n) })
	}
	s.run()
	s.finish()
	return &s.h
}

func (s *sim) run() {
	for len(s.events) > 0 {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.f()
	}
}

// finish adds the final reads at all nodes, hashes and log lines.
func (s *sim) finish() {
	s.now = max(s.now, s.until) + time.Second
	var names []string
	for name := range s.store {
		names = append(names, name)
	}
	slices.Sort(names)
	s.unk = 0
	for _, name := range names {
		workload := "mix"
		if slices.Contains(s.pops, name) {
			workload = "pop3"
		}
		for n := 1; n <= 3; n++ {
			o := history.Op{Workload: workload, Process: 100 + n, Node: fmt.Sprintf("n%d", n), Kind: history.Read, Box: name}
			s.do(o, func(o *history.Op) { o.Mailbox = s.box(name).snapshot(); o.Mailbox.Final = true }, func(history.Op) {})
			s.run()
		}
	}
	for index := uint64(100); index < 1000; index += 100 {
		for n := 1; n <= 3; n++ {
			s.h.Notes = append(s.h.Notes, history.Note{At: s.now, Node: fmt.Sprintf("n%d", n), Kind: "hash", Index: index, Text: fmt.Sprint("h", index)})
		}
	}
	s.h.Faults = append(s.h.Faults, history.Fault{Name: "disk full on one", Nodes: []string{"n2"}, Start: s.now, End: s.now, Ends: true})
	s.h.Notes = append(s.h.Notes, history.Note{At: s.now, Kind: "drained"}, history.Note{At: s.now, Node: "n1", Kind: "log", Text: "level=info msg=\"invariants hold\" pkg=state"},
		history.Note{At: s.now, Node: "n2", Kind: "ended", Text: "panic: the log's disk is full, as planned"})
}
