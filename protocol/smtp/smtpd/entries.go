package smtpd

import (
	"strings"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// sorter makes of a message's recipients the mailboxes that get it now, and the entries of those for whom it waits.
type sorter struct {
	targets []*storepb.Target
	queued  []*storepb.QueueEntry
	index   map[store.AccountID]int // of the account's target
	waiting map[store.AccountID]bool
	told    map[uint64]bool // accounts of whose delivery the sender is told
	remote  map[string]bool // addresses elsewhere that have an entry
}

// sort looks at every recipient. Each account and each address elsewhere stands there once, however many recipients lead to it; an account gets
// the message in the mailbox that the first of its addresses names.
func (s *session) sort(m *incoming) *sorter {
	_, offset := m.now.Zone()
	o := &sorter{index: map[store.AccountID]int{}, waiting: map[store.AccountID]bool{}, remote: map[string]bool{}, told: map[uint64]bool{}}
	for _, r := range m.t.recipients {
		o.add(r, func(box state.Recipient) *storepb.Target {
			return &storepb.Target{Account: uint64(box.Account), Mailbox: uint64(box.Mailbox), InternalDateUnix: m.now.Unix(), InternalDateZone: int32(offset / 60)}
		})
	}
	// One reply must speak for all recipients unless this is LMTP, and none may miss the message after a 250. So the quota binds where a
	// refusal can be told; for several recipients it was looked at with each RCPT, and what arrives meanwhile goes over it by that much.
	// Nor where an entry would tell of a delivery that was refused.
	for _, target := range o.targets {
		target.EnforceQuota = !o.told[target.Account] && (s.srv.cfg.Mode == LMTP || len(o.targets)+len(o.queued) == 1)
	}
	return o
}

func (o *sorter) add(r recipient, target func(state.Recipient) *storepb.Target) {
	if len(r.boxes) > 1 && r.notify&notifySuccess != 0 {
		o.expanded(&r)
	}
	for _, box := range r.boxes {
		switch {
		case box.Remote:
			o.addRemote(r, box)
		case o.waiting[box.Account]:
		case box.Suspended || r.full:
			o.waiting[box.Account] = true
			o.queued = append(o.queued, r.entry(store.QueueLocal, box))
		default:
			o.addTarget(r, box, target)
		}
	}
}

func (o *sorter) addRemote(r recipient, box state.Recipient) {
	if o.remote[box.Address] {
		return
	}
	o.remote[box.Address] = true
	o.queued = append(o.queued, r.entry(store.QueueRemote, box))
}

func (o *sorter) addTarget(r recipient, box state.Recipient, target func(state.Recipient) *storepb.Target) {
	if _, ok := o.index[box.Account]; ok {
		return
	}
	o.index[box.Account] = len(o.targets)
	t := target(box)
	t.Recipient = r.canonical()
	o.targets = append(o.targets, t)
	if r.notify&notifySuccess != 0 {
		e := r.entry(store.QueueLocal, box)
		e.Notice = uint32(store.NoticeDelivered)
		o.queued = append(o.queued, e)
		o.told[e.Account] = true
	}
}

// expanded notes the one notice that the sender gets of a list: that it was expanded, not what became of each member (RFC 3461 §5.2.7.3).
func (o *sorter) expanded(r *recipient) {
	e := r.entry(store.QueueRemote, state.Recipient{Address: r.canonical()})
	for _, box := range r.boxes {
		if box.Account != 0 {
			e.Queue, e.Account = uint32(store.QueueLocal), uint64(box.Account)
			break
		}
	}
	e.Notice = uint32(store.NoticeExpanded)
	o.queued = append(o.queued, e)
	if r.notify &^= notifySuccess; r.notify == 0 {
		r.notify = notifyNever // nothing but success was asked for
	}
}

// entry is the entry of one of those behind the recipient.
func (r recipient) entry(queue store.Queue, box state.Recipient) *storepb.QueueEntry {
	e := &storepb.QueueEntry{Queue: uint32(queue), Address: box.Address, Orcpt: r.orcpt, Notify: r.notify}
	if queue == store.QueueLocal {
		e.Account, e.Mailbox = uint64(box.Account), uint64(box.Mailbox)
	}
	if named := r.canonical(); named != box.Address {
		e.Original = named
	}
	return e
}

// unjudged makes entries of the queue "in" of all recipients: their message is judged and sorted later. why is shown to who asks what they wait for.
func (t *transaction) unjudged(held bool, why string) []*storepb.QueueEntry {
	var list []*storepb.QueueEntry
	seen := map[string]bool{}
	why = strings.ToValidUTF8(why[:min(len(why), maxWhyBytes)], "")
	for _, r := range t.recipients {
		if named := r.canonical(); !seen[named] {
			seen[named] = true
			list = append(list, &storepb.QueueEntry{Queue: uint32(store.QueueIn), Address: named, Orcpt: r.orcpt, Notify: r.notify, Held: held, Reason: why})
		}
	}
	return list
}

// maxWhyBytes bounds why a message waits, which each of its entries says.
const maxWhyBytes = 100

// maxCarriedBytes bounds what a message's recipients add to its command, of which state.MaxCommandBytes is the most, with room for the rest.
const maxCarriedBytes = state.MaxCommandBytes * 3 / 4

// carried is how much that is for this one, at most.
func (r recipient) carried() int {
	const each = 32 // numbers, and what stands before each field
	named := len(r.canonical())
	n := each + named // for the trace
	for _, box := range r.boxes {
		n += each
		if !box.Remote && !box.Suspended {
			n += named // a target
		}
		if box.Remote || box.Suspended || r.full || r.notify&notifySuccess != 0 {
			n += each + len(box.Address) + named + len(r.orcpt)
		}
	}
	return max(n+each, 2*(each+named)+len(r.orcpt)+maxWhyBytes)
}

// count is how many targets and entries a RCPT may add; state.MaxTargets bounds them together.
func (r recipient) count() int {
	n := len(r.boxes)
	if r.notify&notifySuccess == 0 {
		return n
	}
	if n > 1 {
		return n + 1
	}
	return 2 * n
}
