package checker

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorumail/quorumail/jepsen/history"
)

// POP3 judges deletions (RFC 1939 §6): QUIT with +OK carries out all of its session's, a session without QUIT or with one that was refused
// none, one of unknown outcome all or none. Deletions of messages that another operation may have taken out, or of ids with several copies,
// are left aside.
//
// Kinds of violations: "deleted, yet there", "deleted without quit", "torn quit" (one read shows some of a session's deletions done).
func POP3(h *history.History) Result { return pop3(newIndex(h)) }

// pop3Session is one session's deletions that are no other operation's business.
type pop3Session struct {
	n    int
	b    *box
	dele []*history.Op
	quit *history.Op // nil: none
}

func pop3(x *index) Result {
	f := &findings{}
	counts := map[string]int{"sessions": len(x.deletes), "acknowledged": 0, "unknown": 0, "refused": 0, "without quit": 0}
	var ns []int
	for n := range x.deletes {
		ns = append(ns, n)
	}
	slices.Sort(ns)
	looked := 0
	for _, n := range ns {
		s := x.pop3Session(n)
		if len(s.dele) > 0 {
			looked++
			s.judge(f)
		}
		switch {
		case s.quit == nil:
			counts["without quit"]++
		case s.quit.Outcome == history.OK:
			counts["acknowledged"]++
		case s.quit.Outcome == history.Unknown:
			counts["unknown"]++
		default:
			counts["refused"]++
		}
	}
	counts["judged"] = looked
	return f.result("pop3", looked, "", counts)
}

func (x *index) pop3Session(n int) pop3Session {
	s := pop3Session{n: n, quit: x.quits[n]}
	for _, o := range x.deletes[n] {
		b := x.boxes[inbox(o.Box)]
		m := b.byID[o.ID]
		mine := func(r *removal) bool { return r.Op == o }
		alone := m != nil && m.came().hi == 1 && len(m.uids) <= 1 && !slices.ContainsFunc(m.removals, func(r *removal) bool { return !mine(r) })
		if o.Outcome == history.OK && alone && b.nameless == 0 {
			s.b = b
			s.dele = append(s.dele, o)
		}
	}
	return s
}

func (s pop3Session) judge(f *findings) {
	var seen, quit, done bool // one violation per kind and session
	last := s.dele[len(s.dele)-1].Return
	for _, r := range s.b.looks {
		if r.Invoke <= last {
			continue
		}
		var there, gone []string
		for _, o := range s.dele {
			if slices.Contains(r.mails, s.b.byID[o.ID]) {
				there = append(there, o.ID)
			} else {
				gone = append(gone, o.ID)
			}
		}
		where := fmt.Sprintf("%s: session %d of client %d: the read at %s that began at %s", s.b.name, s.n, s.dele[0].Process, r.Node, at(r.Invoke))
		mayBe := s.quit != nil && s.quit.Outcome != history.Fail && s.quit.Invoke < r.Return
		switch {
		case len(gone) > 0 && !mayBe:
			if !quit {
				f.add("deleted without quit", r.Return, "%s does not show %s; %s", where, strings.Join(gone, ", "), s.ending())
			}
			quit = true
		case s.quit != nil && s.quit.Outcome == history.OK && s.quit.Return < r.Invoke && len(there) > 0:
			if !done {
				f.add("deleted, yet there", r.Return, "%s shows %s; %s", where, strings.Join(there, ", "), s.ending())
			}
			done = true
		case len(gone) > 0 && len(there) > 0:
			if !seen {
				f.add("torn quit", r.Return, "%s shows %s, but not %s; %s", where, strings.Join(there, ", "), strings.Join(gone, ", "), s.ending())
			}
			seen = true
		}
	}
}

func (s pop3Session) ending() string {
	if s.quit == nil {
		return "it ended without QUIT"
	}
	return fmt.Sprintf("its QUIT at %s from %s to %s was %s", s.quit.Node, at(s.quit.Invoke), at(s.quit.Return), s.quit.Outcome)
}
