package checker

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/quorumail/quorumail/jepsen/history"
)

// Resend judges messages that were sent more than once: Deliver and Accept under one ID are the same message each time. A mailbox never shows two
// copies of one; every acknowledgement tells the same queue id, and all copies that came to one recipient at another site bear the same. That none is lost is for Deliver,
// how many copies came to other sites for Queue.
//
// Kinds of violations: "duplicated", "other queue id".
func Resend(h *history.History) Result {
	r := &resendJudge{findings: &findings{}, by: map[addressed]*resent{}, ids: map[addressed]*queueIDs{}}
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
	for _, key := range r.named {
		r.sameQueueID(key, r.ids[key])
	}
	return r.result("resend", len(r.by)+len(r.named), "", map[string]int{"sent again": looked, "with queue ids": len(r.named)})
}

// addressed is a message for a mailbox, or for an address elsewhere.
type addressed struct{ id, box string }

// resent is what became of it.
type resent struct {
	attempts int // that may have taken effect
	doubled  bool
}

// queueIDs are those under which a message was acknowledged, or came to one recipient at another site.
type queueIDs struct {
	said  map[string]*history.Op // the first that said each
	tries map[int]bool           // attempts that may have taken effect
	none  *history.Op            // a copy that had none
}

type resendJudge struct {
	*findings
	by    map[addressed]*resent
	ids   map[addressed]*queueIDs // without a mailbox: of the acknowledgements
	named []addressed             // their keys, in order
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

// queueID notes who said which.
func (r *resendJudge) queueID(o *history.Op) {
	key := addressed{id: o.ID}
	if o.Kind == history.Sink {
		key.box = strings.ToLower(o.Dest)
	} else if o.Outcome == history.Fail {
		return
	}
	q := r.ids[key]
	if q == nil {
		q = &queueIDs{said: map[string]*history.Op{}, tries: map[int]bool{}}
		r.ids[key] = q
		r.named = append(r.named, key)
	}
	q.tries[o.Attempt] = true
	switch {
	case o.Value == "" && o.Kind == history.Sink:
		q.none = o
	case o.Value != "" && q.said[o.Value] == nil:
		q.said[o.Value] = o
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

// sameQueueID judges what was said of one message, or of one recipient's copies of it. A copy for whom it was first sent to later bears the id of that
// time, for the trace is in it before the message is known; so copies are held against the acknowledgements only if there was one attempt.
func (r *resendJudge) sameQueueID(key addressed, q *queueIDs) {
	said := maps.Clone(q.said)
	if acks := r.ids[addressed{id: key.id}]; key.box != "" && acks != nil && len(acks.tries) == 1 {
		maps.Copy(said, acks.said)
	}
	switch {
	case len(said) > 1:
		var all []string
		for _, id := range slices.Sorted(maps.Keys(said)) {
			o := said[id]
			all = append(all, fmt.Sprintf("%s in the %s at %s, node %s", id, o.Kind, at(o.Return), o.Node))
		}
		r.add("other queue id", said[slices.Sorted(maps.Keys(said))[0]].Return, "%s has several: %s", key.id, strings.Join(all, "; "))
	case len(said) == 1 && q.none != nil:
		r.add("other queue id", q.none.Return, "%s came to %s without one", key.id, q.none.Dest)
	}
}
