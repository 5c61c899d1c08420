package queue

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"
	"unicode"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Outcome is how an attempt at one recipient ended.
type Outcome struct {
	Result store.AttemptResult
	Code   uint32 // SMTP reply code; 0 when Peer did not answer, or is not the one who says so
	Status string // RFC 3463, "5.1.1"
	Reason string
	Peer   string // who said so
	TLS    string // version; "": in clear
	// Relayed: the other system promised to send the notices that the sender asked for (RFC 3461 §4).
	Relayed bool
	// HostDown: no server of the destination could be reached, so that others for it need not try now. Reached: one had its say. Neither:
	// nobody was asked, and nothing is known of the destination.
	HostDown, Reached bool
	// GiveUpAfter is when a deferred recipient is given up, if that is earlier than the policy says; 0: it is not.
	GiveUpAfter time.Duration
}

// answer is what the attempt met, with its codes if it was a reply.
func (o Outcome) answer() string {
	if o.Code == 0 {
		return o.Reason
	}
	return strings.Join(strings.Fields(fmt.Sprintf("%d %s %s", o.Code, o.Status, o.Reason)), " ")
}

// moment is when something is decided.
type moment struct {
	unixMs int64
	tickMs uint64 // replicated time, by which messages expire
}

// age is how long an entry has waited, in replicated time.
func (m moment) age(e *storepb.QueueEntry) time.Duration {
	return time.Duration(m.tickMs-min(m.tickMs, e.SinceTick)) * time.Millisecond
}

// decide says what follows from an outcome: whether and when there is another attempt, and who is told.
func decide(p Policy, at moment, from string, e *storepb.QueueEntry, o Outcome) *storepb.QueueOutcome {
	out := &storepb.QueueOutcome{Ref: refOf(e), Result: uint32(o.Result), Code: min(o.Code, 999), Status: clip(o.Status, 20), Reason: clip(o.Reason, 1000), Peer: clip(o.Peer, 255), Tls: clip(o.TLS, 100)}
	switch o.Result {
	case store.AttemptDelivered:
		if !o.Relayed && from != "" && store.Notify(e.Notify)&store.NotifySuccess != 0 {
			out.Notice = uint32(store.NoticeRelayed) // RFC 3461 §6.2.7.1: nobody behind us will say more
		}
	case store.AttemptDeferred:
		if o.GiveUpAfter > 0 && at.age(e) >= o.GiveUpAfter {
			return decide(p, at, from, e, Outcome{Result: store.AttemptFailed, Code: 554, Status: "5" + o.Status[1:], Peer: o.Peer,
				Reason: fmt.Sprintf("%s, for %s by now", o.Reason, days(at.age(e)))})
		}
		if p.expired(at.age(e)) {
			return decide(p, at, from, e, Outcome{Result: store.AttemptFailed, Status: "5.4.7", Peer: o.Peer, // RFC 3463 §3.5: delivery time expired
				Reason: fmt.Sprintf("given up after %s; the last attempt: %s", days(at.age(e)), o.answer())})
		}
		out.DueUnixMs = at.unixMs + Wait(attempts(e), seedOf(e)).Milliseconds()
		if p.late(at.age(e)) && !e.Warned && wants(from, e, store.NotifyDelay) {
			out.Notice = uint32(store.NoticeDelayed)
		}
	case store.AttemptFailed:
		switch {
		case wants(from, e, store.NotifyFailure):
			out.Notice = uint32(store.NoticeFailed)
		case from == "" && store.Notify(e.Notify)&store.NotifyNever == 0: // RFC 5321 §6.1: nobody to tell but a human here
			out.Notice, out.Postmaster = uint32(store.NoticeFailed), true
		}
	}
	return out
}

// attempts is how many there were, with this one. Those at mailboxes and checks are counted when they end.
func attempts(e *storepb.QueueEntry) uint32 {
	if store.Queue(e.Queue) == store.QueueRemote {
		return e.Attempts
	}
	return e.Attempts + 1
}

// wants tells whether a sender is to be told (RFC 3461 §4.1): who did not say wants to know of failures and delays; a null sender of nothing.
func wants(from string, e *storepb.QueueEntry, kind store.Notify) bool {
	asked := store.Notify(e.Notify)
	if from == "" {
		return false
	}
	if asked == 0 {
		return kind != store.NotifySuccess
	}
	return asked&kind != 0
}

func refOf(e *storepb.QueueEntry) *storepb.QueueRef {
	return &storepb.QueueRef{Message: e.Message, Number: e.Number, Epoch: e.Epoch}
}

func seedOf(e *storepb.QueueEntry) uint64 { return e.Message<<16 ^ uint64(e.Number) }

func days(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
	return fmt.Sprintf("%d hours", int(d.Hours()))
}

// clip makes of what others say a text that a command can carry: valid UTF-8 on one line, bounded, with no character cut in two. An outcome that
// could not be written for what a stranger's reply contains would have its delivery repeated for ever.
func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

func seedOfText(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}
