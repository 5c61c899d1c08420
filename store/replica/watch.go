package replica

import (
	"sync"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
)

// Watch tells that a mailbox, or an account's list of mailboxes, changed. Changes that come while nobody looks are told once.
type Watch struct {
	C   <-chan struct{}
	c   chan struct{}
	ref state.MailboxRef
	all *watches
}

type watches struct {
	mu    sync.Mutex
	byRef map[state.MailboxRef]map[*Watch]struct{} // guarded by mu
}

// Watch watches a mailbox; mailbox 0 is the account's list of mailboxes. Close it.
func (r *Replica) Watch(account store.AccountID, mailbox store.MailboxID) *Watch {
	c := make(chan struct{}, 1)
	w := &Watch{C: c, c: c, ref: state.MailboxRef{Account: account, Mailbox: mailbox}, all: &r.watches}
	r.watches.mu.Lock()
	defer r.watches.mu.Unlock()
	if r.watches.byRef == nil {
		r.watches.byRef = map[state.MailboxRef]map[*Watch]struct{}{}
	}
	if r.watches.byRef[w.ref] == nil {
		r.watches.byRef[w.ref] = map[*Watch]struct{}{}
	}
	r.watches.byRef[w.ref][w] = struct{}{}
	return w
}

// Close ends the watch.
func (w *Watch) Close() {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	delete(w.all.byRef[w.ref], w)
	if len(w.all.byRef[w.ref]) == 0 {
		delete(w.all.byRef, w.ref)
	}
}

func (w *watches) wake(ref state.MailboxRef) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for x := range w.byRef[ref] {
		select {
		case x.c <- struct{}{}:
		default:
		}
	}
}
