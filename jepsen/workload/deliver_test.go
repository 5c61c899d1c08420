package workload

import (
	"testing"

	"github.com/quorumail/quorumail/jepsen/history"
)

// Every acknowledged message is in its inbox once, at every node, and no other of ours is there but those whose outcome is unknown.
func TestDeliver(t *testing.T) {
	c := theCluster(t)
	env := c.env(t)
	h := work(t, env, NewDeliver(), 4, func(h *history.History) bool {
		reads := 0
		for _, o := range h.Ops {
			if o.Kind == history.Read && o.Outcome == history.OK && len(o.Mailbox.Messages) > 0 {
				reads++
			}
		}
		return count(h, history.Deliver, history.OK) > 100 && reads > 5
	})
	sound(t, h)
	at := finalLooks(t, h)
	if len(at) != len(env.Accounts) {
		t.Errorf("final reads of %d mailboxes", len(at))
	}
	sent := map[string]map[string]history.Outcome{}
	submitted := 0
	for _, o := range h.Ops {
		if o.Kind != history.Deliver {
			continue
		}
		if o.ID == "" || o.Attempt == 0 {
			t.Errorf("%+v", o)
		}
		if sent[o.Box] == nil {
			sent[o.Box] = map[string]history.Outcome{}
		}
		sent[o.Box][o.ID] = o.Outcome
		submitted++
	}
	for name, nodes := range at {
		for node, mb := range nodes {
			copies := map[string]int{}
			for _, m := range mb.Messages {
				copies[m.ID]++
			}
			for id, outcome := range sent[name] {
				if outcome == history.OK && copies[id] != 1 || copies[id] > 1 || outcome == history.Fail && copies[id] > 0 {
					t.Errorf("%s at %s has %d copies of %s, whose outcome is %s", name, node, copies[id], id, outcome)
				}
			}
		}
	}
	if submitted == 0 {
		t.Error("nothing was sent")
	}
}
