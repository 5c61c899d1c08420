package queue

import (
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
)

// AccountChanged tells that an account's mail may go now, because the account is suspended no longer or may hold more; 0: any account's. What
// waits here for its mailboxes is tried at once, instead of when its next attempt is due. It only takes note, and may be called where commands
// are applied.
func (m *Manager) AccountChanged(id store.AccountID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.accounts) >= maxAccounts {
		clear(m.accounts)
		id = 0
	}
	m.accounts[id] = true
	m.poke()
}

// maxAccounts bounds for how many accounts one look at the queue is told apart from one for all.
const maxAccounts = 1000

// slack is how long before its outcome was written an attempt at a mailbox may have been made.
const slack = 2 * time.Second

// accountLook is the look for mail of accounts that changed.
type accountLook struct {
	since  map[store.AccountID]int64 // when each was told, in Unix milliseconds; empty: no look is under way
	behind state.DueEntry
}

func (l *accountLook) wanted() bool { return len(l.since) > 0 }

// add begins to look from the start for these accounts, too.
func (l *accountLook) add(ids map[store.AccountID]bool, now time.Time) {
	if len(ids) == 0 {
		return
	}
	if len(l.since)+len(ids) > maxAccounts {
		ids = map[store.AccountID]bool{0: true}
		l.since = nil
	}
	if l.since == nil {
		l.since = map[store.AccountID]int64{}
	}
	for id := range ids {
		l.since[id] = now.UnixMilli()
	}
	l.behind = state.DueEntry{}
}

// told is when an account changed, in Unix milliseconds; 0: it did not.
func (l *accountLook) told(id store.AccountID) int64 { return max(l.since[id], l.since[0]) }

// lookForAccounts puts in line what waits for mailboxes of accounts that changed, and was not tried since, due or not.
func (m *Manager) lookForAccounts(v *state.View, now time.Time) {
	l := &m.looks.account
	if !l.wanted() {
		return
	}
	cr, err := v.Cluster()
	if err == nil && cr.GetQueue().GetLocal() == 0 { // as nearly always: spare the walk
		l.since = nil
		return
	}
	n, whole := 0, true
	err = v.Due(m.cfg.Self, l.behind, 1<<62, func(d state.DueEntry) bool {
		if n++; n > scanBudget || !m.passLocal(v, d) {
			whole = false
			return false
		}
		l.behind = d
		return true
	})
	switch {
	case err != nil:
		m.cfg.Logger.Error("look for the mail of accounts that changed", "err", err)
		l.since = nil
	case whole:
		l.since = nil
	case n > scanBudget:
		m.looks.goOn = true
	default:
		m.looks.sooner(now.Add(time.Second)) // when there is room
	}
}

// passLocal looks at one entry for an account that changed; false: it has no room now.
func (m *Manager) passLocal(v *state.View, d state.DueEntry) bool {
	if d.Queue != store.QueueLocal {
		return true
	}
	if it := m.line.items[place{d.Message, d.Number}]; it != nil {
		switch {
		case it.active:
			return false // what is under way may have begun before
		case it.dest == destLocal:
			return true
		}
	}
	e, err := v.QueueEntry(d.Message, d.Number)
	if err != nil || waitsForNotice(e) {
		return true
	}
	if since := m.looks.account.told(store.AccountID(e.Account)); since == 0 || e.LastUnixMs >= since+slack.Milliseconds() {
		return true
	}
	msg, err := v.QueueMessage(e.Message)
	return err != nil || m.line.add(e, msg.EnvelopeFrom, destLocal)
}
