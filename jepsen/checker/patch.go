package checker

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/quorumail/quorumail/jepsen/history"
)

// patcher turns what happened to one mailbox into operations for Porcupine. Operations of unknown outcome stay open until the end of time,
// which makes the search exponential in their number; so it uses what the reads tell, as etcd's robustness tests do (tests/robustness,
// patch_history.go):
//
//   - Ids are unique. A copy that some read shows was made before the first such read returned, and nobody cares which attempt made it. An
//     attempt of unknown outcome whose copy nobody ever saw is left out: nobody can have changed that copy either.
//   - A copy came after the invocation of every read whose UIDNEXT was not above its UID.
//   - Copies came in the order of their UIDs.
//   - A message that is in every read after it was made was not taken out before the last of them.
//   - A flag that nobody else changes was set before the first read that shows it so, or not before the last one that does not.
type patcher struct {
	b     *box
	ids   map[string]int32
	flags map[string]uint64
	first map[uint32]sighting
	floor []floor // ascending in both
	ops   []porcupine.Operation
	open  int // operations of unknown outcome that stay open
}

// sighting is what reads tell of one UID.
type sighting struct {
	seen   time.Duration // return of the first read that shows it
	absent time.Duration // return of the first read that does not, though its UIDNEXT is greater
}

// floor is that the UID next, and all above it, were given after a time: a read that was invoked then still showed it as UIDNEXT.
type floor struct {
	next  uint32
	after time.Duration
}

// newPatcher fails for a mailbox that the model does not fit; the error says why.
func newPatcher(b *box) (*patcher, error) {
	p := &patcher{b: b, ids: map[string]int32{}, flags: map[string]uint64{}, first: map[uint32]sighting{}}
	switch {
	case b.pop3:
		return nil, fmt.Errorf("deletions by POP3 name no UID")
	case b.nameless+b.strangers > 0:
		return nil, fmt.Errorf("messages were taken out or moved that nobody had seen")
	}
	for _, r := range b.reads {
		for _, m := range r.Mailbox.Messages {
			for _, f := range m.Flags {
				p.flag(f)
			}
		}
	}
	for _, o := range b.stores {
		p.flag(o.Flag)
	}
	if len(p.flags) > 64 {
		return nil, fmt.Errorf("%d different flags", len(p.flags))
	}
	p.sightings()
	p.floors()
	attempts := p.attempts()
	for _, m := range b.mails {
		p.adds(m, attempts[m])
	}
	p.strange()
	p.removals()
	p.stores()
	for _, r := range b.reads {
		p.read(r)
	}
	p.inOrder()
	return p, nil
}

// flag gives every flag a bit, except the one that Expunge sets.
func (p *patcher) flag(f string) uint64 {
	f = strings.ToLower(f)
	if f == deleted {
		return 0
	}
	if p.flags[f] == 0 {
		p.flags[f] = 1 << (len(p.flags) % 64)
	}
	return p.flags[f]
}

func (p *patcher) id(id string) int32 {
	n, ok := p.ids[id]
	if !ok {
		n = int32(len(p.ids))
		p.ids[id] = n
	}
	return n
}

func (p *patcher) op(process int, in *input, call, ret time.Duration) {
	p.ops = append(p.ops, porcupine.Operation{ClientId: process, Input: in, Call: int64(call), Return: int64(max(call, ret))})
}

// sightings go by the order of the reads' returns.
func (p *patcher) sightings() {
	var uids []uint32
	for _, r := range p.b.reads {
		for _, m := range r.Mailbox.Messages {
			if _, ok := p.first[m.UID]; !ok {
				p.first[m.UID] = sighting{seen: r.Return, absent: forever}
				uids = append(uids, m.UID)
			}
		}
	}
	unseen := func(uid uint32) {
		if _, ok := p.first[uid]; !ok {
			p.first[uid] = sighting{seen: forever, absent: forever}
			uids = append(uids, uid)
		}
	}
	for uid := range p.b.byUID {
		unseen(uid)
	}
	for _, r := range p.b.removals {
		unseen(r.uid)
	}
	slices.Sort(uids)
	for i := range p.b.reads {
		r := &p.b.reads[i]
		k := 0
		for _, uid := range uids {
			for k < len(r.Mailbox.Messages) && r.Mailbox.Messages[k].UID < uid {
				k++
			}
			s := p.first[uid]
			if there := k < len(r.Mailbox.Messages) && r.Mailbox.Messages[k].UID == uid; !there && uid < r.Mailbox.UIDNext && s.absent == forever {
				s.absent = r.Return
				p.first[uid] = s
			}
		}
	}
}

// floors learns from all reads.
func (p *patcher) floors() {
	for _, r := range p.b.reads {
		p.floor = append(p.floor, floor{r.Mailbox.UIDNext, r.Invoke})
	}
	slices.SortFunc(p.floor, func(a, b floor) int { return cmp.Compare(a.next, b.next) })
	for i := 1; i < len(p.floor); i++ {
		p.floor[i].after = max(p.floor[i].after, p.floor[i-1].after)
	}
}

// from is when an addition that can have begun at call, and was there at ret, can have taken effect at the earliest. A read that says it was
// after ret is wrong, and left for the search to find.
func (p *patcher) from(uid uint32, call, ret time.Duration) time.Duration {
	i, _ := slices.BinarySearchFunc(p.floor, uid, func(f floor, uid uint32) int {
		if f.next <= uid {
			return -1
		}
		return 1
	})
	if i > 0 && p.floor[i-1].after <= ret {
		return max(call, p.floor[i-1].after)
	}
	return call
}

// attempt is anything that may make a copy of a message here.
type attempt struct {
	*history.Op
	uid     uint32
	outcome history.Outcome
	flags   uint64 // that it sets, of those known
	known   uint64
}

// attempts are those that did not Fail.
func (p *patcher) attempts() map[*mail][]attempt {
	by := map[*mail][]attempt{}
	for _, o := range p.b.adds {
		if o.Outcome != history.Fail {
			m := p.b.byID[o.ID]
			a := attempt{Op: o, uid: o.UID, outcome: o.Outcome, known: allFlags}
			if o.Flag != "" {
				a.flags = p.flag(o.Flag)
			}
			by[m] = append(by[m], a)
		}
	}
	for _, m := range p.b.mails {
		for _, r := range m.arrivals {
			a := attempt{Op: r.Op, uid: r.DestUID, outcome: r.outcome}
			if r.DestUID == 0 {
				a.outcome = history.Unknown // of OK without COPYUID, too: it may have found nothing to move
			}
			by[m] = append(by[m], a)
		}
	}
	return by
}

// adds makes one operation for every copy of a message.
func (p *patcher) adds(m *mail, attempts []attempt) {
	var open []attempt // those of which it is not known which copy they made
	told := map[uint32]bool{}
	earliest, text, known := forever, "", allFlags
	for _, a := range attempts {
		if a.outcome == history.OK && a.uid != 0 {
			told[a.uid] = true
			continue
		}
		open = append(open, a)
		earliest, known = min(earliest, a.Invoke), known&a.known
		text += fmt.Sprintf("%s %s by client %d at %s (%s) ", a.Kind, m.id, a.Process, a.Node, a.outcome)
	}
	for _, a := range attempts {
		if a.outcome == history.OK && a.uid != 0 {
			in := &input{kind: addMail, uid: a.uid, id: p.id(m.id), flag: a.flags, known: a.known}
			in.text = fmt.Sprintf("%s %s as UID %d by client %d at %s", a.Kind, m.id, a.uid, a.Process, a.Node)
			ret := min(a.Return, p.first[a.uid].seen)
			p.op(a.Process, in, p.from(a.uid, min(a.Invoke, earliest), ret), ret)
		}
	}
	if len(open) == 0 {
		return
	}
	ack := forever // when one of them was acknowledged, and one copy was there
	for _, a := range open {
		if a.outcome == history.OK {
			ack = min(ack, a.Return)
		}
	}
	in := input{kind: addMail, id: p.id(m.id), flag: open[0].flags & known, known: known, text: strings.TrimSpace(text)}
	rest := slices.DeleteFunc(slices.Sorted(slices.Values(m.uids)), func(uid uint32) bool { return told[uid] })
	for i, uid := range rest[:min(len(rest), len(open))] {
		copied := in
		copied.uid = uid
		ret := p.first[uid].seen
		if i == 0 {
			ret = min(ret, ack)
		}
		p.op(open[0].Process, &copied, p.from(uid, earliest, ret), ret)
	}
	if len(m.uids) == 0 && ack != forever {
		p.op(open[0].Process, &in, earliest, ack)
	}
}

// strange adds the mail of others: it was there when a read first showed it. What has a lower UID than all of ours, and than the UIDNEXT of
// every read, came before all that we know of, in the order of the UIDs; to say so spares a search that grows with every such message.
func (p *patcher) strange() {
	uids, before := map[uint32]bool{}, p.beforeAll()
	for _, r := range p.b.reads {
		for _, msg := range r.Mailbox.Messages {
			if msg.ID == "" {
				uids[msg.UID] = true
			}
		}
	}
	for i, uid := range slices.Sorted(maps.Keys(uids)) {
		var call time.Duration
		ret := p.first[uid].seen
		if uid < before {
			call = time.Duration(i - len(uids))
			ret = call
		}
		p.op(-1, &input{kind: addMail, uid: uid, id: p.id(""), text: fmt.Sprintf("mail of others as UID %d", uid)}, p.from(uid, call, ret), ret)
	}
}

// beforeAll is the UID below which messages were there before any read and any message of ours.
func (p *patcher) beforeAll() uint32 {
	least := uint32(math.MaxUint32)
	for _, r := range p.b.reads {
		least = min(least, r.Mailbox.UIDNext)
		for _, msg := range r.Mailbox.Messages {
			if msg.ID != "" {
				least = min(least, msg.UID)
			}
		}
	}
	for uid := range p.b.byUID {
		least = min(least, uid)
	}
	return least
}

func (p *patcher) read(r reading) {
	v := &view{next: r.Mailbox.UIDNext}
	for _, m := range r.Mailbox.Messages {
		e := entry{uid: m.UID, id: p.id(m.ID), known: allFlags}
		for _, f := range m.Flags {
			e.flags |= p.flag(f)
		}
		v.mails = append(v.mails, e)
		v.hash += e.hash()
	}
	p.op(r.Process, &input{kind: readMail, view: v, text: fmt.Sprintf("read by client %d at %s (%d messages, UIDNEXT %d)", r.Process, r.Node, len(v.mails), v.next)},
		r.Invoke, r.Return)
}

// groupBy keeps the order of first mention.
func groupBy[T any, K comparable](list []T, key func(T) K) [][]T {
	place := map[K]int{}
	var groups [][]T
	for _, t := range list {
		k := key(t)
		i, ok := place[k]
		if !ok {
			i = len(groups)
			place[k] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], t)
	}
	return groups
}
