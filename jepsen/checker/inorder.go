package checker

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// fine is into how many parts a nanosecond is divided, so that what is known to come one after the other can be said to.
const fine = 4096

// fineTime is a time in such parts, moment the time of which it is a part.
func fineTime(t int64) int64 {
	if t == int64(forever) {
		return t
	}
	return t * fine
}

func moment(t int64) time.Duration {
	if t > int64(forever)-1<<40 { // inOrder takes a little from the end of time
		return forever
	}
	return time.Duration(t / fine)
}

// inOrder narrows when additions can have taken effect: in the order of their UIDs, so none before one of a lower UID was begun, nor after one
// of a higher UID was there. Additions of unknown outcome, and mail of others of which nobody knows when it came, would otherwise be tried at
// every place, and in every order. Where the UIDs contradict the times nothing is narrowed: the search is to find it.
func (p *patcher) inOrder() {
	var adds []*porcupine.Operation
	for i := range p.ops {
		o := &p.ops[i]
		o.Call, o.Return = fineTime(o.Call), fineTime(o.Return)
		if in := o.Input.(*input); in.kind == addMail && in.uid != 0 {
			adds = append(adds, o)
		}
	}
	slices.SortStableFunc(adds, func(a, b *porcupine.Operation) int {
		return cmp.Compare(a.Input.(*input).uid, b.Input.(*input).uid)
	})
	calls, returns := make([]int64, len(adds)), make([]int64, len(adds))
	call, ret := int64(math.MinInt64), int64(math.MaxInt64)
	for i, o := range adds {
		call = max(call+1, o.Call)
		calls[i] = call
		if in := o.Input.(*input); i > 0 && adds[i-1].Input.(*input).uid < in.uid {
			in.after = adds[i-1].Input.(*input).uid
		}
	}
	for i, o := range slices.Backward(adds) {
		ret = min(ret-1, o.Return)
		returns[i] = ret
	}
	for i, o := range adds {
		if calls[i] <= returns[i] {
			o.Call, o.Return = calls[i], returns[i]
		}
	}
}
