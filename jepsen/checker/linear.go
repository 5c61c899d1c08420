package checker

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/quorumail/quorumail/jepsen/history"
)

const (
	wantedBoxes = 50 // fewer mailboxes make a weak check
	// A mailbox is checked if at most maxOpen of its operations, or maxOpenShare of them, are of an unknown outcome that no read resolves.
	maxOpen      = 4
	maxOpenShare = 0.02
)

// Linearizable asks Porcupine (Athalye; after Wing, Gong and Lowe) for each mailbox, whether all operations on it can have happened one after
// the other, each between its invocation and its return, such that every read shows exactly what was there. An operation of unknown outcome
// may happen at any time after its invocation, or never. The two halves of a move are judged apart, each in its mailbox.
//
// Each process is expected to change only messages that it has seen; a change to one that is gone is OK and without effect (RFC 9051 §6.4.9).
// The flag \Deleted is left aside, for Expunge sets it in a step of its own.
//
// Kind of violation: "not linearizable". Running out of time makes the verdict Unsure, and so does it when most mailboxes cannot be checked.
func Linearizable(h *history.History, o Options) Result { return linearizable(newIndex(h), o) }

// boxCheck is one mailbox's.
type boxCheck struct {
	b         *box
	skipped   string // why it was not checked
	ops, open int
	result    porcupine.CheckResult
	text      string
	stuckAt   time.Duration
}

func linearizable(x *index, o Options) Result {
	if o.Porcupine == 0 {
		o.Porcupine = time.Minute
	}
	var checks []*boxCheck
	for _, name := range x.names {
		if b := x.boxes[name]; len(b.reads) > 0 {
			checks = append(checks, &boxCheck{b: b})
		}
	}
	search(checks, time.Now().Add(o.Porcupine))
	return summary(checks)
}

// search works through the mailboxes, the small ones first, on all processors.
func search(checks []*boxCheck, deadline time.Time) {
	slices.SortStableFunc(checks, func(a, b *boxCheck) int { return cmp.Compare(a.b.size(), b.b.size()) })
	work := make(chan *boxCheck)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for c := range work {
				c.run(deadline)
			}
		})
	}
	for _, c := range checks {
		work <- c
	}
	close(work)
	wg.Wait()
}

func (b *box) size() int { return len(b.adds) + len(b.stores) + len(b.removals) + len(b.reads) }

// onlyDeliveries tells that the order of the UIDs, which the IMAP checker judges, says all that there is to say.
func (b *box) onlyDeliveries() bool {
	early := slices.ContainsFunc(b.reads, func(r reading) bool { return !r.Mailbox.Final })
	moved := slices.ContainsFunc(b.mails, func(m *mail) bool { return len(m.arrivals) > 0 })
	return !early && !moved && len(b.stores)+len(b.removals) == 0
}

func (c *boxCheck) run(deadline time.Time) {
	if c.b.onlyDeliveries() {
		c.skipped = plain
		return
	}
	left := time.Until(deadline)
	if left <= 0 {
		c.result = porcupine.Unknown
		return
	}
	p, err := newPatcher(c.b)
	if err != nil {
		c.skipped = err.Error()
		return
	}
	c.ops, c.open = len(p.ops), p.open
	if p.open > max(maxOpen, int(maxOpenShare*float64(len(p.ops)))) {
		c.skipped = "too many unknown"
		return
	}
	c.result = porcupine.CheckOperationsTimeout(mailbox, p.ops, left)
	if c.result != porcupine.Illegal {
		return
	}
	// Once more, to see where it got stuck. It need not come to its end for that.
	_, info := porcupine.CheckOperationsVerbose(mailbox, p.ops, max(time.Second, min(10*time.Second, time.Until(deadline))))
	c.explain(p, info)
}

// plain is why nothing is left to check.
const plain = "only additions and final reads"

func summary(checks []*boxCheck) Result {
	f := &findings{}
	counts := map[string]int{"boxes checked": 0, "operations": 0, "open operations": 0}
	late, looked, leftOut := 0, 0, 0
	for _, c := range checks {
		if c.skipped != "" {
			counts["boxes not checked: "+c.skipped]++
			if c.skipped != plain {
				leftOut++
			}
			continue
		}
		looked++
		switch c.result {
		case porcupine.Illegal:
			f.add("not linearizable", c.stuckAt, "%s: %s", c.b.name, c.text)
		case porcupine.Unknown:
			late++
			continue
		}
		counts["boxes checked"]++
		counts["operations"] += c.ops
		counts["open operations"] += c.open
	}
	why := ""
	if leftOut > counts["boxes checked"] {
		why = fmt.Sprintf("%d mailboxes could not be checked, which is most of them", leftOut)
	}
	if late > 0 {
		counts["boxes out of time"] = late
		why = fmt.Sprintf("ran out of time in %d of %d mailboxes", late, looked)
	}
	r := f.result("linearizable", looked, why, counts)
	if n := counts["boxes checked"]; r.Verdict == Passed && n < wantedBoxes {
		r.Why = fmt.Sprintf("only %d mailboxes were checked, which is less than %d", n, wantedBoxes)
	}
	return r
}

// explain tells what the longest linearization ended with, and which operation has no place after it.
func (c *boxCheck) explain(p *patcher, info porcupine.LinearizationInfo) {
	c.text = "no order of its operations explains what the reads show"
	var longest []porcupine.Operation
	for _, partial := range info.PartialLinearizationsOperations()[0] {
		if len(partial) > len(longest) {
			longest = partial
		}
	}
	s := &state{next: 1}
	done := map[*input]bool{}
	for _, o := range longest {
		in := o.Input.(*input)
		done[in] = true
		_, s = step(s, in)
	}
	stuck, ok := stuckOn(p.ops, done, s)
	if !ok {
		return
	}
	c.stuckAt = moment(stuck.Return)
	var before []string
	for _, o := range longest[max(0, len(longest)-3):] {
		before = append(before, describe(o))
	}
	c.text = fmt.Sprintf("%d of %d operations are in order, the last of them: %s. There is no place for: %s: %s",
		len(longest), len(p.ops), strings.Join(before, "; "), describe(stuck), p.difference(s, stuck.Input.(*input)))
}

// stuckOn finds the operation that would have to come next, and cannot.
func stuckOn(ops []porcupine.Operation, done map[*input]bool, s *state) (porcupine.Operation, bool) {
	rest := slices.DeleteFunc(slices.Clone(ops), func(o porcupine.Operation) bool { return done[o.Input.(*input)] })
	slices.SortStableFunc(rest, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	for _, o := range rest {
		if can, _ := step(s, o.Input.(*input)); !can && o.Call <= rest[0].Return {
			return o, true
		}
	}
	return porcupine.Operation{}, false
}

func describe(o porcupine.Operation) string {
	end := at(moment(o.Return))
	if moment(o.Return) == forever {
		end = "open"
	}
	return fmt.Sprintf("%s [%s to %s]", o.Input.(*input).text, at(moment(o.Call)), end)
}

// difference tells why an operation does not fit a state.
func (p *patcher) difference(s *state, in *input) string {
	if in.kind != readMail {
		return fmt.Sprintf("a UID below %d was taken already", s.next)
	}
	var ds []string
	if in.view.next < s.next {
		ds = append(ds, fmt.Sprintf("UIDNEXT should be %d at least", s.next))
	}
	seen := map[uint32]entry{}
	for _, e := range in.view.mails {
		seen[e.uid] = e
		if s.find(e.uid) < 0 {
			ds = append(ds, fmt.Sprintf("UID %d (%s) should not be there", e.uid, p.idOf(e.id)))
		}
	}
	for i := range s.n {
		want := s.at(i)
		got, there := seen[want.uid]
		switch {
		case want.uid == 0:
		case !there:
			ds = append(ds, fmt.Sprintf("UID %d (%s) is missing", want.uid, p.idOf(want.id)))
		case got.id != want.id:
			ds = append(ds, fmt.Sprintf("UID %d should be %s and is %s", want.uid, p.idOf(want.id), p.idOf(got.id)))
		case (got.flags^want.flags)&want.known != 0:
			ds = append(ds, fmt.Sprintf("UID %d should have flags (%s) and has (%s)", want.uid, p.flagsOf(want.flags), p.flagsOf(got.flags)))
		}
	}
	if len(ds) > 5 {
		ds = append(ds[:5], fmt.Sprintf("and %d more", len(ds)-5))
	}
	return strings.Join(ds, "; ")
}

func (p *patcher) idOf(n int32) string {
	for id, k := range p.ids {
		if k == n {
			return id
		}
	}
	return "?"
}

func (p *patcher) flagsOf(mask uint64) string {
	var fs []string
	for f, bit := range p.flags {
		if mask&bit != 0 {
			fs = append(fs, f)
		}
	}
	slices.Sort(fs)
	return strings.Join(fs, " ")
}
