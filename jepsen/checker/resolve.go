package checker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// removals makes one operation for each message that was taken out: only the first one had an effect, whichever it was.
func (p *patcher) removals() {
	for _, g := range groupBy(p.b.removals, func(r *removal) uint32 { return r.uid }) {
		uid, call, ret, text := g[0].uid, forever, p.first[g[0].uid].absent, ""
		for _, r := range g {
			call, ret = min(call, r.from), min(ret, r.until)
			text += fmt.Sprintf("%s UID %d by client %d at %s (%s) ", r.Kind, uid, r.Process, r.Node, r.outcome)
		}
		if ret != forever { // else every read shows it
			p.op(g[0].Process, &input{kind: removeMail, uid: uid, text: strings.TrimSpace(text)}, call, ret)
		}
	}
}

// stores looks at all changes of one flag of one message together.
func (p *patcher) stores() {
	type key struct {
		uid  uint32
		flag string
	}
	initial := map[uint32]uint64{} // flags known not to have been set at first
	for _, o := range p.ops {
		if in := o.Input.(*input); in.kind == addMail {
			initial[in.uid] = in.known &^ in.flag
		}
	}
	for _, g := range groupBy(p.b.stores, func(o *history.Op) key { return key{o.UID, strings.ToLower(o.Flag)} }) {
		flag := p.flag(g[0].Flag)
		oneWay := !slices.ContainsFunc(g, func(o *history.Op) bool { return !o.Add })
		switch {
		case flag == 0:
		case oneWay && initial[g[0].UID]&flag != 0:
			p.storeOnce(g)
		default:
			p.storeEach(g)
		}
	}
}

// storeOnce: the flag was not there at first, and nobody takes it away; only the first change had an effect.
func (p *patcher) storeOnce(g []*history.Op) {
	call, ret := forever, p.shows(g[0], -1)
	for _, o := range g {
		call = min(call, o.Invoke)
		if o.Outcome == history.OK {
			ret = min(ret, o.Return)
		}
	}
	if ret != forever {
		p.op(g[0].Process, p.storeInput(g[0]), call, ret)
	}
}

// storeEach leaves out a change of unknown outcome if no read shows the flag so after it began: then nothing depends on it.
func (p *patcher) storeEach(g []*history.Op) {
	for _, o := range g {
		switch {
		case o.Outcome == history.OK:
			p.op(o.Process, p.storeInput(o), o.Invoke, o.Return)
		case p.shows(o, o.Invoke) != forever:
			p.open++
			p.op(o.Process, p.storeInput(o), o.Invoke, forever)
		}
	}
}

func (p *patcher) storeInput(o *history.Op) *input {
	text := fmt.Sprintf("store %s (add: %t) to UID %d by client %d at %s (%s)", o.Flag, o.Add, o.UID, o.Process, o.Node, o.Outcome)
	return &input{kind: setFlag, uid: o.UID, flag: p.flag(o.Flag), add: o.Add, text: text}
}

// shows is the return of the first read that returned after a time and shows the flag as the change leaves it.
func (p *patcher) shows(o *history.Op, after time.Duration) time.Duration {
	for i := range p.b.reads {
		r := &p.b.reads[i]
		if msg, there := find(r, o.UID); r.Return > after && there && slices.Contains(msg.Flags, strings.ToLower(o.Flag)) == o.Add {
			return r.Return
		}
	}
	return forever
}
