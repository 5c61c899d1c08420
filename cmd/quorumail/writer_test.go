package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/quorumail/quorumail/ops/admin"
)

// box is what an INBOX holds.
type box struct {
	next imap.UID
	msgs map[imap.UID]boxed
}

// boxed is one message: which, and its flags in order.
type boxed struct{ id, flags string }

func (b box) clone() box { return box{b.next, maps.Clone(b.msgs)} }

func (b box) equal(o box) bool { return b.next == o.next && maps.Equal(b.msgs, o.msgs) }

// writer is the only one who changes one account's INBOX, one thing after the other, and so knows what it must hold: what was acknowledged,
// with or without the one thing that was under way when the power went.
type writer struct {
	account admin.AccountRequest
	r       *rand.Rand
	n       int
	must    box
	pending func(*box)        // under way; nil for nothing
	what    string            // of pending
	bodies  map[string][]byte // by id, of all messages ever written
	exact   map[string]bool   // came by APPEND: without trace fields
	fresh   map[string]bool   // written since the last verification
	acked   int
}

func newWriter(a admin.AccountRequest, r *rand.Rand) *writer {
	return &writer{account: a, r: r, must: box{next: 1, msgs: map[imap.UID]boxed{}}, bodies: map[string][]byte{}, exact: map[string]bool{}, fresh: map[string]bool{}}
}

// dialIMAP logs in, with a deadline on all that follows.
func dialIMAP(address string, a admin.AccountRequest) (*imapclient.Client, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return nil, err
	}
	c := imapclient.New(conn, nil)
	if err := c.Login(a.Address, a.Password).Wait(); err != nil {
		c.Close()
		return nil, fmt.Errorf("log in: %w", err)
	}
	return c, nil
}

// run changes the mailbox at a node until that fails. An error before cut is closed is a fault; after it, it is what a crash looks like.
func (w *writer) run(n *rigNode, cut <-chan struct{}) error {
	err := w.steps(n, cut)
	select {
	case <-cut:
		return nil
	default:
		return fmt.Errorf("%s at %s, %s: %w", w.account.Address, n.name, w.what, err)
	}
}

// steps does one thing after the other until one fails, or until cut is closed and the node still lives.
func (w *writer) steps(n *rigNode, cut <-chan struct{}) error {
	c, err := dialIMAP(n.imap(), w.account)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		return err
	}
	for until := (<-chan time.Time)(nil); ; {
		if err := w.step(n, c); err != nil {
			return err
		}
		select {
		case <-cut:
			if until == nil {
				until = time.After(50 * time.Millisecond)
			}
		default:
		}
		select {
		case <-until:
			return nil
		default:
		}
	}
}

// step does one thing.
func (w *writer) step(n *rigNode, c *imapclient.Client) error {
	do := w.choose(n, c)
	// A session may not change messages that it was not told of (RFC 9051 §7.4.1): let it hear what came by SMTP.
	if err := c.Noop().Wait(); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	w.pending(&w.must)
	w.pending = nil
	w.acked++
	return nil
}

// choose picks a thing to do and notes what it will change.
func (w *writer) choose(n *rigNode, c *imapclient.Client) func() error {
	uids := slices.Sorted(maps.Keys(w.must.msgs))
	k := w.r.IntN(10)
	if len(uids) > 60 {
		k = 9
	}
	if len(uids) == 0 {
		k = w.r.IntN(6)
	}
	switch {
	case k < 4:
		return w.deliver(n)
	case k < 6:
		return w.append(c)
	case k < 9:
		return w.flag(c, uids[w.r.IntN(len(uids))])
	}
	return w.expunge(c, uids)
}

// message makes a message that no other is like: some go into the log, some beside it.
func (w *writer) message() (string, []byte) {
	w.n++
	id := fmt.Sprintf("%s-%d", w.account.Address, w.n)
	msg := append([]byte("X-Id: "+id+"\r\n"), generated(w.r, w.n)...)
	w.bodies[id], w.fresh[id] = msg, true
	return id, msg
}

func (w *writer) arrives(what, id string) {
	w.what = what
	w.pending = func(b *box) {
		b.msgs[b.next] = boxed{id: id}
		b.next++
	}
}

func (w *writer) deliver(n *rigNode) func() error {
	id, msg := w.message()
	w.arrives("deliver "+id, id)
	return func() error { return deliver(n.smtp(), "sender@example.net", w.account.Address, msg) }
}

func (w *writer) append(c *imapclient.Client) func() error {
	id, msg := w.message()
	w.exact[id] = true
	w.arrives("append "+id, id)
	uid := w.must.next
	return func() error {
		data, err := appendMessage(c, "INBOX", msg)
		if err == nil && data.UID != uid {
			return fmt.Errorf("APPENDUID is %d, want %d", data.UID, uid)
		}
		return err
	}
}

func (w *writer) flag(c *imapclient.Client, uid imap.UID) func() error {
	words := []string{`\Answered`, `\Flagged`, `\Seen`, "$Forwarded"}
	var chosen []imap.Flag
	for _, f := range words {
		if w.r.IntN(2) == 0 {
			chosen = append(chosen, imap.Flag(f))
		}
	}
	w.what = fmt.Sprintf("flag UID %d", uid)
	w.pending = func(b *box) { b.msgs[uid] = boxed{b.msgs[uid].id, flagText(chosen)} }
	return func() error {
		return c.Store(imap.UIDSetNum(uid), &imap.StoreFlags{Op: imap.StoreFlagsSet, Silent: true, Flags: chosen}, nil).Close()
	}
}

func flagText(flags []imap.Flag) string {
	var out []string
	for _, f := range flags {
		if !strings.EqualFold(string(f), `\Recent`) {
			out = append(out, strings.ToLower(string(f)))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// expunge takes a MOVE's half: marking and expunging are two commands, so the marked state is a thing of its own.
func (w *writer) expunge(c *imapclient.Client, uids []imap.UID) func() error {
	from := w.r.IntN(len(uids))
	victims := imap.UIDSetNum(uids[from:min(from+1+w.r.IntN(10), len(uids))]...)
	var marked []imap.UID
	for uid, m := range w.must.msgs {
		if victims.Contains(uid) && m.flags == `\deleted` {
			marked = append(marked, uid)
		}
	}
	if len(marked) == 0 {
		w.what = fmt.Sprintf("mark %v", victims)
		w.pending = func(b *box) {
			for uid, m := range b.msgs {
				if victims.Contains(uid) {
					b.msgs[uid] = boxed{m.id, `\deleted`}
				}
			}
		}
		return func() error {
			return c.Store(victims, &imap.StoreFlags{Op: imap.StoreFlagsSet, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close()
		}
	}
	w.what = fmt.Sprintf("expunge %v", victims)
	w.pending = func(b *box) {
		for _, uid := range marked {
			delete(b.msgs, uid)
		}
	}
	return func() error { return c.UIDExpunge(victims).Close() }
}

// verify compares the mailbox, as a node shows it, with what it must be, and reads bodies. What was pending is known afterwards.
func (w *writer) verify(n *rigNode, all bool) error {
	c, err := dialIMAP(n.imap(), w.account)
	if err != nil {
		return err
	}
	defer c.Close()
	got, err := look(c)
	if err != nil {
		return err
	}
	want := w.must
	if w.pending != nil && !got.equal(want) {
		want = want.clone()
		w.pending(&want)
	}
	if !got.equal(want) {
		return fmt.Errorf("%s at %s: with %q under way, the mailbox is not what was acknowledged: %s", w.account.Address, n.name, w.what, boxDiff(got, w.must))
	}
	w.must, w.pending, w.what = want, nil, ""
	return w.readBodies(c, n, all)
}

// look reads a mailbox.
func look(c *imapclient.Client) (box, error) {
	sel, err := c.Select("INBOX", nil).Wait()
	if err != nil {
		return box{}, err
	}
	got := box{next: sel.UIDNext, msgs: map[imap.UID]boxed{}}
	if sel.NumMessages == 0 {
		return got, nil
	}
	section := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"X-Id"}, Peek: true}
	msgs, err := c.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{UID: true, Flags: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		return got, err
	}
	for _, m := range msgs {
		got.msgs[m.UID] = boxed{headerValue(m.FindBodySection(section), "X-Id"), flagText(m.Flags)}
	}
	return got, nil
}

func boxDiff(got, want box) string {
	var out []string
	if got.next != want.next {
		out = append(out, fmt.Sprintf("UIDNEXT is %d, was %d", got.next, want.next))
	}
	for uid, m := range want.msgs {
		if g, ok := got.msgs[uid]; !ok {
			out = append(out, fmt.Sprintf("lost: UID %d, %s", uid, m.id))
		} else if g != m {
			out = append(out, fmt.Sprintf("changed: UID %d is %v, was %v", uid, g, m))
		}
	}
	for uid, m := range got.msgs {
		if _, ok := want.msgs[uid]; !ok {
			out = append(out, fmt.Sprintf("more: UID %d, %v", uid, m))
		}
	}
	slices.Sort(out)
	return strings.Join(out[:min(len(out), 12)], "; ")
}

// readBodies compares bodies: those written since the last time and a few others, or all.
func (w *writer) readBodies(c *imapclient.Client, n *rigNode, all bool) error {
	var uids imap.UIDSet
	for uid, m := range w.must.msgs {
		if all || w.fresh[m.id] || w.r.IntN(20) == 0 {
			uids.AddNum(uid)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	section := &imap.FetchItemBodySection{Peek: true}
	msgs, err := c.Fetch(uids, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		return fmt.Errorf("%s at %s: read bodies: %w", w.account.Address, n.name, err)
	}
	var errs []error
	for _, m := range msgs {
		id := w.must.msgs[m.UID].id
		got, want := m.FindBodySection(section), w.bodies[id]
		if id == "" {
			continue // not this writer's
		}
		if w.exact[id] && !bytes.Equal(got, want) || !bytes.HasSuffix(got, want) {
			errs = append(errs, fmt.Errorf("%s at %s: UID %d, %s: %d bytes came back that are not the %d that were sent", w.account.Address, n.name, m.UID, id, len(got), len(want)))
		}
	}
	clear(w.fresh)
	return errors.Join(errs...)
}

// resync takes over what others delivered meanwhile; what this writer did must be there all the same.
func (w *writer) resync(n *rigNode) error {
	c, err := dialIMAP(n.imap(), w.account)
	if err != nil {
		return err
	}
	defer c.Close()
	got, err := look(c)
	if err != nil {
		return err
	}
	rest := got.clone()
	rest.next = w.must.next
	for uid, m := range got.msgs {
		if _, mine := w.must.msgs[uid]; !mine && m.id == "" {
			w.must.msgs[uid] = m
		}
	}
	mine := w.must.clone()
	maps.DeleteFunc(mine.msgs, func(_ imap.UID, m boxed) bool { return m.id == "" })
	maps.DeleteFunc(rest.msgs, func(_ imap.UID, m boxed) bool { return m.id == "" })
	if !rest.equal(mine) {
		return fmt.Errorf("%s at %s: %s", w.account.Address, n.name, boxDiff(rest, mine))
	}
	w.must.next = got.next
	return nil
}
