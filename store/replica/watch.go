package replica

import (
	"sync"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
)

// Watch tells of changes to one mailbox. C gets a value after the change can be read in a View of this node; several changes that
// were not received yet are one value. C is never closed.
type Watch struct {
	C <-chan struct{}

	c   chan struct{}
	ref state.MailboxRef
	all *watches
}

// Close ends the watch. It may be called more than once.
func (w *Watch) Close() { w.all.remove(w) }

// watches are all that are open.
type watches struct {
	mu sync.Mutex
	of map[state.MailboxRef]map[*Watch]struct{} // guarded by mu
}

// Watch tells of changes to a mailbox of an account, or with mailbox 0 to the account's list of mailboxes. Begin to watch before
// reading, so that no change falls between. The number of watches is bounded by that of the sessions.
func (r *Replica) Watch(account store.AccountID, mailbox store.MailboxID) *Watch {
	return r.watches.add(state.MailboxRef{Account: account, Mailbox: mailbox})
}

func (s *watches) add(ref state.MailboxRef) *Watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{}, 1)
	w := &Watch{C: c, c: c, ref: ref, all: s}
	if s.of[ref] == nil {
		s.of[ref] = map[*Watch]struct{}{}
	}
	s.of[ref][w] = struct{}{}
	return w
}

func (s *watches) remove(w *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of[w.ref], w)
	if len(s.of[w.ref]) == 0 {
		delete(s.of, w.ref)
	}
}

// wake tells those that watch any of refs.
func (s *watches) wake(refs []state.MailboxRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ref := range refs {
		for w := range s.of[ref] {
			poke(w.c) // if it is full, the value that waits covers this change too
		}
	}
}

// wakeAll tells everybody, when it is not known what changed.
func (s *watches) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, set := range s.of {
		for w := range set {
			poke(w.c)
		}
	}
}
