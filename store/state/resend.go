package state

import (
	"slices"

	"github.com/quorumail/quorumail/store/storepb"
)

// A client that does not learn what became of its message sends it again. For an hour the state remembers, under what the message is known
// by, who has it: they do not get it twice, in whatever order the two commands come. What is remembered stands under the hour of replicated
// time in which it was, and goes as a whole.

const hourMs = 3600 * 1000

// remembered finds what was taken under a key within the last hour; nil for nothing.
func (b *batch) remembered(cr *storepb.ClusterRecord, resendKey []byte) (*storepb.Resend, error) {
	if len(resendKey) == 0 {
		return nil, nil
	}
	hour := cr.TicksMs / hourMs
	for _, h := range []uint64{hour, hour - 1} {
		k := key(tabResend, h, resendKey)
		if found, err := b.Has(k); err != nil || !found {
			if err != nil {
				return nil, err
			}
			continue
		}
		r := &storepb.Resend{}
		if err := must(b, k, r); err != nil {
			return nil, err
		}
		if cr.TicksMs-r.Tick < hourMs {
			return r, nil
		}
	}
	return nil, nil
}

// remember keeps who has the message.
func (b *batch) remember(cr *storepb.ClusterRecord, resendKey []byte, r *storepb.Resend) error {
	if len(resendKey) == 0 || len(r.Accounts)+len(r.Recipients) > 2*MaxTargets {
		return nil
	}
	slices.Sort(r.Recipients)
	r.Recipients = slices.Compact(r.Recipients)
	r.Tick = cr.TicksMs
	return b.save(key(tabResend, cr.TicksMs/hourMs, resendKey), r)
}

// forgetResends drops what is older than an hour, when an hour of replicated time has begun.
func (b *batch) forgetResends(before, now uint64) error {
	hour := now / hourMs
	if before/hourMs == hour || hour < 2 {
		return nil
	}
	return b.DeleteRange(key(tabResend), key(tabResend, hour-1))
}

// fresh leaves of a message's recipients those who do not have it: neither the account, nor anybody under the name that the client used. What a
// name leads to may have changed meanwhile, as may what was done with the message: the first may wait for its checks, and the second be judged.
func fresh(r *storepb.Resend, op *storepb.AddMessage) (targets []*storepb.Target, queued []*storepb.QueueEntry) {
	if r == nil {
		return op.Targets, op.Queued
	}
	accounts, recipients := setOf(r.Accounts), setOf(r.Recipients)
	for _, t := range op.Targets {
		if !accounts[t.Account] && !recipients[t.Recipient] {
			targets = append(targets, t)
		}
	}
	for _, e := range op.Queued {
		if !recipients[namedBy(e)] && (e.Account == 0 || !accounts[e.Account]) {
			queued = append(queued, e)
		}
	}
	return targets, queued
}

func setOf[T comparable](list []T) map[T]bool {
	set := make(map[T]bool, len(list))
	for _, x := range list {
		set[x] = true
	}
	return set
}

// namedBy is the recipient, as the client named it, that an entry is for.
func namedBy(e *storepb.QueueEntry) string {
	if e.Original != "" {
		return e.Original
	}
	return e.Address
}
