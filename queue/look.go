package queue

import (
	"context"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// What is due stands in the store in one order, and may be a million entries of one sender. The line takes of each sender what there is room for.
// Invariant: of this node's entries each that is due at or before looker.behind is in line or worked on, or its sender has a gap before it.
// So nothing is read twice to no end, and nobody waits behind another's.

// looker knows how far the due entries in the store were looked at.
type looker struct {
	behind  state.DueEntry
	gaps    map[uint64]state.DueEntry // by sender: behind it may stand what had no room
	last    time.Time                 // of the look before
	next    time.Time                 // when the first entry that was not due becomes it; zero: none is known
	goOn    bool                      // there is more to look at now
	again   time.Time                 // of the next look at everything
	account accountLook
}

const (
	// scanBudget bounds how many entries one look passes: some milliseconds' worth.
	scanBudget = 20_000
	// maxGaps bounds for how many senders it is known where their entries go on.
	maxGaps = 1000
	// lookAgain is how often everything that is due is looked at from the beginning, whatever was told and noted.
	lookAgain = 5 * time.Minute
	// farthest is longer than anything waits here (noticeAgain, and far less than that: Wait, hostBackOff). What is due later was written by a
	// clock that was wrong, as that of a machine that has just started may be by years, and does not wait for that day.
	farthest = 5 * time.Hour
)

// isDue tells whether it is an entry's turn.
func isDue(dueUnixMs int64, now time.Time) bool {
	due := time.UnixMilli(dueUnixMs)
	return !due.After(now) || due.After(now.Add(farthest))
}

// refill takes what was told into the line, and looks for more in the store.
func (m *Manager) refill(writing context.Context) {
	hints, accounts, missed := m.takeHints()
	now, l := m.cfg.Now().Round(0), &m.looks // without its monotonic reading, by which no clock is ever set back
	everything := missed || now.Before(l.last) || now.After(l.again) || l.again.Sub(now) > lookAgain
	if l.last = now; everything {
		l.behind, l.goOn, l.again = state.DueEntry{}, true, now.Add(lookAgain)
	}
	if !l.next.IsZero() && !now.Before(l.next) {
		l.goOn = true
	}
	l.account.add(accounts, now)
	if len(hints) == 0 && !l.goOn && !l.account.wanted() && !m.gapToFill() {
		return
	}
	v := m.cfg.Store.View()
	defer v.Close()
	for _, p := range hints {
		m.consider(v, p, true, now)
	}
	if l.goOn {
		m.scan(v, now)
	}
	if everything {
		m.lookFar(v, now)
	}
	m.fillGaps(v, now)
	m.lookForAccounts(v, now)
	m.restWithDestinations(writing, now)
}

// consider puts an entry in line if there is something to do with it now. told: it just changed.
func (m *Manager) consider(v *state.View, p place, told bool, now time.Time) {
	e, err := v.QueueEntry(p.message, p.number)
	if err != nil || e.Owner != string(m.cfg.Self) || e.Held || e.Attempting {
		m.line.forget(p)
		return
	}
	due := isDue(e.DueUnixMs, now)
	late := told && store.Notice(e.Notice) == store.NoticeDelayed // its sender hears of it at once, not at the next attempt
	if !due && !late {
		m.line.forget(p)
		m.looks.sooner(time.UnixMilli(e.DueUnixMs))
		return
	}
	if told && due && e.LastUnixMs != 0 && e.Notice == 0 {
		m.line.dests.wake(m.destOf(e, now), now) // somebody wants it tried now
	}
	m.enter(v, e, now)
}

func (m *Manager) destOf(e *storepb.QueueEntry, now time.Time) string {
	return destOf(e, now, m.cfg.Sender.Destination)
}

// enter puts an entry in line, or notes that it had no room.
func (m *Manager) enter(v *state.View, e *storepb.QueueEntry, now time.Time) bool {
	msg, err := v.QueueMessage(e.Message)
	if err != nil {
		return true // it ended meanwhile
	}
	dest := m.destOf(e, now)
	if m.line.add(e, msg.EnvelopeFrom, dest) {
		m.entered[dest] = true
		return true
	}
	m.looks.gap(state.SenderHash(msg.EnvelopeFrom), before(state.DueEntry{DueUnixMs: e.DueUnixMs, Message: e.Message, Number: e.Number}))
	return false
}

// before is the position behind which an entry stands first.
func before(d state.DueEntry) state.DueEntry {
	return state.DueEntry{DueUnixMs: d.DueUnixMs, Message: d.Message, Number: d.Number - 1}
}

// sooner notes when an entry will be due.
func (l *looker) sooner(due time.Time) {
	if l.next.IsZero() || due.Before(l.next) {
		l.next = due
	}
}

// gap notes that a sender's entries behind a position may not be in line. Where there are too many gaps, all of them are looked at again from there.
func (l *looker) gap(sender uint64, position state.DueEntry) {
	old, known := l.gaps[sender]
	switch {
	case known && old.Compare(position) <= 0:
	case known || len(l.gaps) < maxGaps:
		l.gaps[sender] = position
	case position.Compare(l.behind) < 0:
		l.behind = position
	}
}

// scan goes on looking for due entries where the last look ended.
func (m *Manager) scan(v *state.View, now time.Time) {
	l := &m.looks
	if l.behind.DueUnixMs > now.UnixMilli() { // the clock was set back
		l.behind = state.DueEntry{}
	}
	n, whole := 0, true
	l.goOn = false
	err := v.Due(m.cfg.Self, l.behind, now.UnixMilli(), func(d state.DueEntry) bool {
		if n++; n > scanBudget {
			whole, l.goOn = false, true
			return false
		}
		if whole = m.pass(v, d, now); !whole {
			return false
		}
		l.behind = d
		return true
	})
	switch {
	case err != nil:
		m.cfg.Logger.Error("look for due entries", "err", err)
		l.next = now.Add(time.Second)
	case whole:
		l.behind = state.DueEntry{DueUnixMs: now.UnixMilli()} // what became due in this millisecond may come yet
		m.nextDue(v, now)
	case !l.goOn:
		l.next = now.Add(time.Second) // there are more senders than gaps: when there is room
	}
}

// pass looks at one due entry. false: it can neither be put in line nor be noted.
func (m *Manager) pass(v *state.View, d state.DueEntry, now time.Time) bool {
	if m.line.has(place{d.Message, d.Number}) {
		return true
	}
	if _, known := m.looks.gaps[d.Sender]; known {
		return true
	}
	if !m.line.room(d.Sender) {
		if len(m.looks.gaps) >= maxGaps {
			return false
		}
		m.looks.gaps[d.Sender] = before(d)
		return true
	}
	m.consider(v, place{d.Message, d.Number}, false, now)
	return true
}

// lookFar takes what is due too late to be true.
func (m *Manager) lookFar(v *state.View, now time.Time) {
	n := 0
	err := v.Due(m.cfg.Self, state.DueEntry{DueUnixMs: now.Add(farthest).UnixMilli() + 1}, 1<<62, func(d state.DueEntry) bool {
		if m.line.room(d.Sender) { // what has none is found the next time
			m.consider(v, place{d.Message, d.Number}, false, now)
		}
		n++
		return n < scanBudget
	})
	if err != nil {
		m.cfg.Logger.Error("look for entries of a wrong clock", "err", err)
	}
}

// nextDue finds the first entry that is not due yet.
func (m *Manager) nextDue(v *state.View, now time.Time) {
	m.looks.next = time.Time{}
	err := v.Due(m.cfg.Self, state.DueEntry{DueUnixMs: now.UnixMilli() + 1}, 1<<62, func(d state.DueEntry) bool {
		m.looks.next = time.UnixMilli(d.DueUnixMs)
		return false
	})
	if err != nil {
		m.cfg.Logger.Error("look for the next due entry", "err", err)
	}
}

// gapToFill tells whether a sender has room again for what had none.
func (m *Manager) gapToFill() bool {
	for sender := range m.looks.gaps {
		if m.line.low(sender) {
			return true
		}
	}
	return false
}

// fillGaps puts in line what had no room before and has it now.
func (m *Manager) fillGaps(v *state.View, now time.Time) {
	budget := scanBudget
	for sender := range m.looks.gaps {
		if budget > 0 && m.line.low(sender) {
			m.fillGap(v, sender, now, &budget)
		}
	}
}

func (m *Manager) fillGap(v *state.View, sender uint64, now time.Time, budget *int) {
	position := m.looks.gaps[sender]
	delete(m.looks.gaps, sender)
	err := v.Due(m.cfg.Self, position, min(now.UnixMilli(), m.looks.behind.DueUnixMs), func(d state.DueEntry) bool {
		if *budget--; *budget < 0 || d.Sender == sender && !m.line.has(place{d.Message, d.Number}) && !m.line.room(sender) {
			m.looks.gaps[sender] = before(d)
			return false
		}
		if d.Sender == sender && !m.line.has(place{d.Message, d.Number}) {
			m.consider(v, place{d.Message, d.Number}, false, now)
		}
		return true
	})
	if err != nil {
		m.cfg.Logger.Error("look for due entries of a sender", "err", err)
		m.looks.gaps[sender] = position
	}
}

// restWithDestinations has what came into line for a destination that is left alone wait with it.
func (m *Manager) restWithDestinations(writing context.Context, now time.Time) {
	for name := range m.entered {
		if until, reason, rests := m.line.dests.rests(name, now); rests {
			m.putOff(writing, m.line.takeAll(name), until, reason)
		}
	}
	clear(m.entered)
}
