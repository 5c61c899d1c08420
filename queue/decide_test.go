package queue

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func TestWaitsGrowAndSpread(t *testing.T) {
	for attempts, step := range map[uint32]time.Duration{0: time.Minute, 1: time.Minute, 2: 5 * time.Minute, 3: 15 * time.Minute, 4: 30 * time.Minute, 5: time.Hour, 100: time.Hour, 1 << 31: time.Hour} {
		seen := map[time.Duration]bool{}
		for seed := range uint64(50) {
			w := Wait(attempts, seed)
			if w < step*9/10 || w > step*11/10 {
				t.Errorf("after %d attempts the wait is %s, want %s and a tenth at most", attempts, w, step)
			}
			if w != Wait(attempts, seed) {
				t.Error("the same question has two answers")
			}
			seen[w] = true
		}
		if len(seen) < 40 {
			t.Errorf("after %d attempts 50 messages have %d different waits", attempts, len(seen))
		}
	}
}

func TestPolicyHasDefaults(t *testing.T) {
	p := Policy{}.filled()
	if p.MaxAge != 5*24*time.Hour || p.WarnAfter != 4*time.Hour || p.late(4*time.Hour-1) || !p.late(4*time.Hour) || p.expired(5*24*time.Hour-1) || !p.expired(5*24*time.Hour) {
		t.Errorf("the policy is %+v", p)
	}
	if (Policy{WarnAfter: -1}).filled().late(100 * time.Hour) {
		t.Error("a warning although there is to be none")
	}
}

func TestWhatFollowsFromAnOutcome(t *testing.T) {
	const from = "an@here.test"
	delivered, deferred, failed := store.AttemptDelivered, store.AttemptDeferred, store.AttemptFailed
	for name, c := range map[string]struct {
		from       string
		notify     store.Notify
		age        time.Duration
		warned     bool
		result     store.AttemptResult
		relayed    bool
		want       store.AttemptResult
		notice     store.Notice
		postmaster bool
	}{
		"delivered":                      {from, 0, 0, false, delivered, false, delivered, 0, false},
		"delivered, success wanted":      {from, 2, 0, false, delivered, false, delivered, store.NoticeRelayed, false},
		"delivered, promised":            {from, 2, 0, false, delivered, true, delivered, 0, false},
		"delivered, null sender":         {"", 2, 0, false, delivered, false, delivered, 0, false},
		"deferred":                       {from, 0, time.Hour, false, deferred, false, deferred, 0, false},
		"deferred, late":                 {from, 0, 4 * time.Hour, false, deferred, false, deferred, store.NoticeDelayed, false},
		"deferred, late and warned":      {from, 0, 4 * time.Hour, true, deferred, false, deferred, 0, false},
		"deferred, late, never":          {from, 1, 4 * time.Hour, false, deferred, false, deferred, 0, false},
		"deferred, late, failure wanted": {from, 4, 4 * time.Hour, false, deferred, false, deferred, 0, false},
		"deferred, late, delay wanted":   {from, 8, 4 * time.Hour, false, deferred, false, deferred, store.NoticeDelayed, false},
		"deferred, late, null sender":    {"", 0, 4 * time.Hour, false, deferred, false, deferred, 0, false},
		"deferred, too old":              {from, 0, 5 * 24 * time.Hour, true, deferred, false, failed, store.NoticeFailed, false},
		"deferred, too old, null sender": {"", 0, 5 * 24 * time.Hour, true, deferred, false, failed, store.NoticeFailed, true},
		"failed":                         {from, 0, 0, false, failed, false, failed, store.NoticeFailed, false},
		"failed, never":                  {from, 1, 0, false, failed, false, failed, 0, false},
		"failed, only success wanted":    {from, 2, 0, false, failed, false, failed, 0, false},
		"failed, null sender":            {"", 0, 0, false, failed, false, failed, store.NoticeFailed, true},
		"failed, null sender, never":     {"", 1, 0, false, failed, false, failed, 0, false},
		"discarded":                      {from, 2 | 4, 0, false, store.AttemptDiscarded, false, store.AttemptDiscarded, 0, false},
	} {
		e := &storepb.QueueEntry{Message: 1, Number: 1, Epoch: 3, Queue: 3, Attempts: 1, SinceTick: 1000, Notify: uint32(c.notify), Warned: c.warned}
		at := moment{unixMs: 5_000_000, tickMs: 1000 + uint64(c.age.Milliseconds())}
		o := decide(Policy{}.filled(), at, c.from, e, Outcome{Result: c.result, Relayed: c.relayed, Reason: "so"})
		if store.AttemptResult(o.Result) != c.want || store.Notice(o.Notice) != c.notice || o.Postmaster != c.postmaster || o.Ref.Epoch != 3 {
			t.Errorf("%s: %v, want result %d, notice %d, postmaster %v", name, o, c.want, c.notice, c.postmaster)
		}
		if later := o.DueUnixMs > at.unixMs; later != (c.want == deferred) {
			t.Errorf("%s: due %d at %d", name, o.DueUnixMs, at.unixMs)
		}
	}
}

func TestAttemptsAtMailboxesCount(t *testing.T) {
	e := &storepb.QueueEntry{Queue: uint32(store.QueueLocal), Attempts: 5}
	o := decide(Policy{}.filled(), moment{}, "an@here.test", e, Outcome{Result: store.AttemptDeferred})
	if wait := time.Duration(o.DueUnixMs) * time.Millisecond; wait < 50*time.Minute {
		t.Errorf("the sixth try at a full mailbox is followed by another after %s", wait)
	}
}

func FuzzClip(f *testing.F) {
	f.Add("\xff\xfe ấ\r\n", 4)
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = min(max(n, 0), 2000)
		got := clip(s, n)
		if len(got) > n || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("clip(%q, %d) is %q", s, n, got)
		}
	})
}
