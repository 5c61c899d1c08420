package imapd

import (
	"slices"
	"sync"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// maxRecents bounds the mailboxes that recents remembers; beyond it any are forgotten, and their newest messages count as recent again.
const maxRecents = 1 << 16

// recents remembers which messages a session of this node was told are \Recent (RFC 3501 §2.3.2), so that each is to one session. It is
// kept in memory and not between nodes: nobody acts on it but to show what is new, and that is not worth an entry of the log at each
// SELECT. Where it does not know, a message behind the last one that anybody has seen counts as recent, as the RFC wants it for what cannot
// be determined.
type recents struct {
	mu    sync.Mutex
	first map[recentKey]uint32 // the lowest UID that no session was told of
}

type recentKey struct {
	account store.AccountID
	mailbox store.MailboxID
}

// claim makes the messages below next the caller's, from the UID that it returns on. guess is where they begin if nothing is known.
func (r *recents) claim(k recentKey, next, guess uint32) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, known := r.first[k]
	if !known {
		first = guess
	}
	r.note(k, max(first, next))
	return first
}

// peek is claim without claiming.
func (r *recents) peek(k recentKey) (first uint32, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, known = r.first[k]
	return first, known
}

// learn notes a guess that was costly to make.
func (r *recents) learn(k recentKey, guess uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.first[k]; !known {
		r.note(k, guess)
	}
}

// note needs r.mu.
func (r *recents) note(k recentKey, first uint32) {
	if _, known := r.first[k]; !known && len(r.first) >= maxRecents {
		for old := range r.first {
			delete(r.first, old)
			break
		}
	}
	r.first[k] = first
}

// markRecent finds out which of the messages from a UID on are recent to this session, and takes them unless the mailbox is selected
// read-only (RFC 3501 §6.3.2: EXAMINE leaves them to others). guess is where they begin if nothing is known.
func (s *session) markRecent(from, guess uint32) {
	last := s.sel.largest()
	if last < from {
		return
	}
	k := recentKey{s.account(), s.sel.id}
	first, known := uint32(0), false
	if s.sel.readOnly {
		if first, known = s.recents.peek(k); !known {
			first = guess
		}
	} else {
		first = s.recents.claim(k, last+1, guess)
	}
	if first = max(first, from); first <= last {
		s.sel.recent.AddRange(store.UID(first), store.UID(last))
	}
}

// recentCount is how many of the messages that the client knows are recent to it.
func (sel *selected) recentCount() uint32 {
	n := 0
	for _, r := range sel.recent {
		first, _ := slices.BinarySearch(sel.uids, uint32(r.First))
		last, found := slices.BinarySearch(sel.uids, uint32(r.Last))
		if found {
			last++
		}
		n += last - first
	}
	return uint32(n)
}

// isRecent is whether a message is recent to this session.
func (sel *selected) isRecent(uid uint32) bool { return sel.recent.Contains(store.UID(uid)) }

// recentIn is STATUS's count: of the messages that would be recent to a session that selected the mailbox now.
func (s *session) recentIn(v View, mb *storepb.Mailbox) (n uint64, err error) {
	id := store.MailboxID(mb.GetId())
	k := recentKey{s.account(), id}
	first, known := s.recents.peek(k)
	if !known {
		if first, err = unseenTail(v, s.account(), mb); err != nil {
			return 0, err
		}
		s.recents.learn(k, first)
	}
	if first >= mb.GetUidNext() {
		return 0, nil
	}
	err = v.Entries(s.account(), id, store.UID(first), func(store.UID, *storepb.Entry) bool { n++; return true })
	return n, err
}

// unseenTail is the UID behind the last message that has been seen.
func unseenTail(v View, account store.AccountID, mb *storepb.Mailbox) (uint32, error) {
	if mb.GetUnseen() == 0 {
		return mb.GetUidNext(), nil
	}
	tail := uint32(1)
	err := v.Entries(account, store.MailboxID(mb.GetId()), 1, func(uid store.UID, e *storepb.Entry) bool {
		if store.Flags(e.GetFlags()).Has(store.FlagSeen) {
			tail = uint32(uid) + 1
		}
		return true
	})
	return tail, err
}
