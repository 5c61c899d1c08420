package checker

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorumail/quorumail/jepsen/history"
)

// Resend judges messages that were sent more than once: Deliver and Accept under one ID are the same message each time. A mailbox never shows two
// copies of one, and every acknowledgement, and every copy that came to another site, bears the same queue id. That none is lost is for Deliver,
// how many copies came to other sites for Queue.
//
// Kinds of violations: "duplicated", "other queue id".
func Resend(h *history.History) Result {
	r := &resendJudge{findings: &findings{}, by: map[addressed]*resent{}, ids: map[string]*queueIDs{}}
	for i := range h.Ops {
		r.sort(&h.Ops[i])
	}
	for i := range h.Ops {
		if o := &h.Ops[i]; o.Kind == history.Read && o.Outcome == history.OK && o.Mailbox != nil {
			r.read(o)
		}
	}
	looked := 0
	for _, s := range r.by {
		if s.attempts > 1 {
			looked++
		}
	}
	for _, id := range r.named {
		r.sameQueueID(id, r.ids[id])
	}
	return r.result("resend", len(r.by)+len(r.named), "", map[string]int{"sent again": looked, "with queue ids": len(r.named)})
}

// addressed is a message for a mailbox.
type addressed struct{ id, box string }

// resent is what became of it.
type resent struct {
	attempts int // that may have taken effect
	doubled  bool
}

// queueIDs are those under which a message was acknowledged or came to a site, with who said so.
type queueIDs struct {
	all  []string
	said []string
	last *history.Op
	none *history.Op // a copy that had none
}

type resendJudge struct {
	*findings
	by    map[addressed]*resent
	ids   map[string]*queueIDs
	named []string
}

func (r *resendJudge) sort(o *history.Op) {
	switch o.Kind {
	case history.Deliver, history.Accept, history.Sink:
		r.queueID(o)
	}
	if o.Kind != history.Deliver || o.Dest != "" || o.Outcome == history.Fail {
		return
	}
	p := addressed{o.ID, inbox(o.Box)}
	s := r.by[p]
	if s == nil {
		s = &resent{}
		r.by[p] = s
	}
	s.attempts++
}

func (r *resendJudge) queueID(o *history.Op) {
	if o.Outcome != history.OK && o.Kind != history.Sink {
		return
	}
	q := r.ids[o.ID]
	if q == nil {
		q = &queueIDs{}
		r.ids[o.ID], r.named = q, append(r.named, o.ID)
	}
	switch {
	case o.Value == "" && o.Kind == history.Sink:
		q.none = o
	case o.Value != "" && !slices.Contains(q.all, o.Value):
		q.all, q.last = append(q.all, o.Value), o
		q.said = append(q.said, fmt.Sprintf("%s in the %s at %s from %s", o.Value, o.Kind, at(o.Return), o.Node))
	}
}

// read counts the copies in one read.
func (r *resendJudge) read(o *history.Op) {
	copies := map[string]int{}
	for _, m := range o.Mailbox.Messages {
		if m.ID != "" {
			copies[m.ID]++
		}
	}
	for id, n := range copies {
		if s := r.by[addressed{id, o.Box}]; n > 1 && s != nil && s.attempts > 1 && !s.doubled {
			s.doubled = true
			r.add("duplicated", o.Return, "%s has %d copies of %s at %s, which was sent %d times", o.Box, n, id, o.Node, s.attempts)
		}
	}
}

func (r *resendJudge) sameQueueID(id string, q *queueIDs) {
	switch {
	case len(q.all) > 1:
		r.add("other queue id", q.last.Return, "%s has several: %s", id, strings.Join(q.said, "; "))
	case len(q.all) == 1 && q.none != nil:
		r.add("other queue id", q.none.Return, "%s came to %s without one, and should have had %s", id, q.none.Dest, q.said[0])
	}
}
