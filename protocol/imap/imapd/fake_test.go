package imapd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// fakeStore is one account's mail in memory, with the meaning that the replicated store gives to the commands.
type fakeStore struct {
	mu      sync.Mutex
	state   fakeState
	bodies  map[store.BodyID][]byte
	watches map[*fakeWatch]bool

	notReady   atomic.Pointer[error] // Ready's answer
	proposeErr atomic.Pointer[error]
	opened     atomic.Int64 // bodies
	readBytes  atomic.Int64 // of bodies
	barriers   atomic.Int64
	openErr    atomic.Pointer[error]
	catchUp    func() // at the next barrier: what other nodes acknowledged becomes known here
	overtake   func() // before the next change: what another client did first
	beforeView func() // before each look
}

type fakeState struct {
	boxes         map[store.MailboxID]*fakeBox
	emails        map[store.EmailID]*storepb.Email
	subscriptions map[string]bool
	next          uint64
}

type fakeBox struct {
	mb      *storepb.Mailbox
	entries map[store.UID]*storepb.Entry
	changes map[store.UID]Change
}

const fakeAccount = store.AccountID(7)

func newFakeStore() *fakeStore {
	f := &fakeStore{bodies: map[store.BodyID][]byte{}, watches: map[*fakeWatch]bool{}}
	f.state = fakeState{boxes: map[store.MailboxID]*fakeBox{}, emails: map[store.EmailID]*storepb.Email{}, subscriptions: map[string]bool{}}
	for _, b := range [][2]string{{"INBOX", ""}, {"Drafts", `\Drafts`}, {"Sent", `\Sent`}, {"Trash", `\Trash`}} {
		f.state.create(b[0], b[1])
		f.state.subscriptions[b[0]] = true
	}
	return f
}

func (st *fakeState) create(name, use string) *fakeBox {
	st.next++
	b := &fakeBox{mb: &storepb.Mailbox{Id: st.next, Name: name, UidValidity: uint32(1000 + st.next), UidNext: 1, HighestModseq: 1, SpecialUse: use},
		entries: map[store.UID]*storepb.Entry{}, changes: map[store.UID]Change{}}
	st.boxes[store.MailboxID(st.next)] = b
	return b
}

func (st *fakeState) byName(name string) *fakeBox {
	for _, b := range st.boxes {
		if b.mb.GetName() == name {
			return b
		}
	}
	return nil
}

func (b *fakeBox) count(e *storepb.Entry, by int32) {
	b.mb.Messages += uint32(by)
	b.mb.SizeBytes += int64(by) * e.GetRawBytes()
	if !store.Flags(e.Flags).Has(store.FlagSeen) {
		b.mb.Unseen += uint32(by)
	}
	if store.Flags(e.Flags).Has(store.FlagDeleted) {
		b.mb.Deleted += uint32(by)
	}
}

func (b *fakeBox) put(uid store.UID, e *storepb.Entry, modseq uint64) {
	e.Modseq = modseq
	b.mb.HighestModseq = modseq
	b.entries[uid] = e
	b.changes[uid] = Change{UID: uid, ModSeq: store.ModSeq(modseq)}
	b.count(e, 1)
}

func (b *fakeBox) add(e *storepb.Entry) *storepb.PlacedMessage {
	uid := store.UID(b.mb.UidNext)
	b.mb.UidNext++
	b.put(uid, e, b.mb.HighestModseq+1)
	return &storepb.PlacedMessage{Account: uint64(fakeAccount), Mailbox: b.mb.Id, Uid: uint32(uid), UidValidity: b.mb.UidValidity, Email: e.Email, Modseq: e.Modseq}
}

func (b *fakeBox) drop(uids []store.UID) {
	next := b.mb.HighestModseq + 1
	for _, uid := range uids {
		b.count(b.entries[uid], -1)
		delete(b.entries, uid)
		b.changes[uid] = Change{UID: uid, ModSeq: store.ModSeq(next), Expunged: true}
		b.mb.HighestModseq = next
	}
}

func (b *fakeBox) in(packed []byte, all bool) []store.UID {
	set, err := store.UnpackUIDs(packed)
	if err != nil {
		panic(err)
	}
	var uids []store.UID
	for _, uid := range slices.Sorted(maps.Keys(b.entries)) {
		if all || set.Contains(uid) {
			uids = append(uids, uid)
		}
	}
	return uids
}

func (f *fakeStore) Ready() error {
	if err := f.notReady.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *fakeStore) ReadBarrier(context.Context) error {
	f.barriers.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.catchUp != nil {
		f.catchUp()
		f.catchUp = nil
	}
	return f.Ready()
}

// Propose implements Store.
func (f *fakeStore) Propose(_ context.Context, fill func(*storepb.Command)) (*storepb.Result, error) {
	if err := f.proposeErr.Load(); err != nil {
		return nil, *err
	}
	c := &storepb.Command{TimeUnixMs: time.Now().UnixMilli()}
	fill(c)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.overtake != nil {
		f.overtake()
		f.overtake = nil
	}
	res, err := f.state.apply(c)
	for w := range f.watches {
		select {
		case w.c <- struct{}{}:
		default:
		}
	}
	return res, err
}

func (st *fakeState) apply(c *storepb.Command) (*storepb.Result, error) {
	switch op := c.Op.(type) {
	case *storepb.Command_CreateMailbox:
		name := op.CreateMailbox.Name
		switch {
		case name == "" || strings.ContainsAny(name, "*%") || strings.Contains(name, "//"):
			return nil, store.ErrInvalid
		case st.byName(name) != nil:
			return nil, store.ErrExists
		}
		return &storepb.Result{Id: st.create(name, op.CreateMailbox.SpecialUse).mb.Id}, nil
	case *storepb.Command_DeleteMailbox:
		b := st.boxes[store.MailboxID(op.DeleteMailbox.Mailbox)]
		if b.mb.Name == "INBOX" {
			return nil, store.ErrInvalid
		}
		delete(st.boxes, store.MailboxID(b.mb.Id))
		return &storepb.Result{}, nil
	case *storepb.Command_RenameMailbox:
		return st.rename(op.RenameMailbox)
	case *storepb.Command_SetSubscribed:
		delete(st.subscriptions, op.SetSubscribed.Name)
		if op.SetSubscribed.Subscribed {
			st.subscriptions[op.SetSubscribed.Name] = true
		}
		return &storepb.Result{}, nil
	case *storepb.Command_StoreFlags:
		return st.storeFlags(op.StoreFlags)
	case *storepb.Command_Expunge:
		b := st.boxes[store.MailboxID(op.Expunge.Mailbox)]
		uids := slices.DeleteFunc(b.in(op.Expunge.Uids, op.Expunge.All), func(uid store.UID) bool {
			return op.Expunge.OnlyDeleted && !store.Flags(b.entries[uid].Flags).Has(store.FlagDeleted)
		})
		b.drop(uids)
		return &storepb.Result{Modseq: b.mb.HighestModseq}, nil
	case *storepb.Command_CopyMessages:
		return st.copyMessages(op.CopyMessages)
	}
	return nil, fmt.Errorf("fake: %T", c.Op)
}

func (st *fakeState) rename(op *storepb.RenameMailbox) (*storepb.Result, error) {
	b := st.boxes[store.MailboxID(op.Mailbox)]
	if st.byName(op.Name) != nil {
		return nil, store.ErrExists
	}
	from := b.mb.Name
	for _, x := range st.boxes {
		if x.mb.Name == from || strings.HasPrefix(x.mb.Name, from+"/") {
			x.mb.Name = op.Name + strings.TrimPrefix(x.mb.Name, from)
		}
	}
	return &storepb.Result{}, nil
}

func (st *fakeState) storeFlags(op *storepb.StoreFlags) (*storepb.Result, error) {
	b := st.boxes[store.MailboxID(op.Mailbox)]
	if b == nil {
		return nil, store.ErrNotFound
	}
	next := b.mb.HighestModseq + 1
	var modified store.UIDSet
	for _, uid := range b.in(op.Uids, false) {
		old := b.entries[uid]
		if op.HasUnchangedSince && old.Modseq > op.UnchangedSince {
			modified.Add(uid)
			continue
		}
		e := proto.CloneOf(old)
		switch op.Mode {
		case 0:
			e.Flags, e.Keywords = op.Flags, op.Keywords
		case 1:
			e.Flags |= op.Flags
			for _, k := range op.Keywords {
				if !slices.Contains(e.Keywords, k) {
					e.Keywords = append(e.Keywords, k)
				}
			}
		case 2:
			e.Flags &^= op.Flags
			e.Keywords = slices.DeleteFunc(e.Keywords, func(k string) bool { return slices.Contains(op.Keywords, k) })
		}
		if e.Flags == old.Flags && slices.Equal(e.Keywords, old.Keywords) {
			continue
		}
		b.count(old, -1)
		b.put(uid, e, next)
	}
	return &storepb.Result{Modseq: b.mb.HighestModseq, Uids: store.PackUIDs(modified)}, nil
}

func (st *fakeState) copyMessages(op *storepb.CopyMessages) (*storepb.Result, error) {
	from, to := st.boxes[store.MailboxID(op.Mailbox)], st.boxes[store.MailboxID(op.DestMailbox)]
	res := &storepb.Result{}
	uids := from.in(op.Uids, false)
	for _, uid := range uids {
		res.SrcUids = append(res.SrcUids, uint32(uid))
		res.Placed = append(res.Placed, to.add(proto.CloneOf(from.entries[uid])))
	}
	if op.Move {
		from.drop(uids)
	}
	return res, nil
}

type fakeBody struct{ bytes.Buffer }

func (*fakeBody) Abort() {}

func (f *fakeStore) NewBody() (Body, error) { return &fakeBody{}, f.Ready() }

// AddMessage implements Store.
func (f *fakeStore) AddMessage(_ context.Context, body Body, msg *storepb.AddMessage) (*storepb.Result, error) {
	if err := f.proposeErr.Load(); err != nil {
		return nil, *err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	raw := body.(*fakeBody).Bytes()
	st := &f.state
	st.next++
	id := store.NewBodyID(sha256.Sum256(raw), [8]byte{byte(st.next), byte(st.next >> 8)})
	f.bodies[id] = raw
	st.emails[store.EmailID(st.next)] = &storepb.Email{BodyId: id[:], RawBytes: int64(len(raw)), Summary: msg.Summary}
	t := msg.Targets[0]
	p := st.boxes[store.MailboxID(t.Mailbox)].add(&storepb.Entry{Email: st.next, Flags: t.Flags, Keywords: t.Keywords, RawBytes: int64(len(raw)),
		InternalDateUnix: t.InternalDateUnix, InternalDateZone: t.InternalDateZone})
	for w := range f.watches {
		select {
		case w.c <- struct{}{}:
		default:
		}
	}
	return &storepb.Result{Placed: []*storepb.PlacedMessage{p}}, nil
}

type fakeReader struct {
	*bytes.Reader
	f *fakeStore
}

func (r *fakeReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.Reader.ReadAt(p, off)
	r.f.readBytes.Add(int64(n))
	return n, err
}

func (r *fakeReader) Close() error { return nil }

// OpenBody implements Store.
func (f *fakeStore) OpenBody(_ context.Context, id store.BodyID) (BodyReader, error) {
	if err := f.openErr.Load(); err != nil {
		return nil, *err
	}
	f.opened.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	raw, ok := f.bodies[id]
	if !ok {
		return nil, store.ErrNotFound
	}
	return &fakeReader{bytes.NewReader(raw), f}, nil
}

type fakeWatch struct {
	f *fakeStore
	c chan struct{}
}

func (w *fakeWatch) C() <-chan struct{} { return w.c }

func (w *fakeWatch) Close() {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	delete(w.f.watches, w)
}

// Watch implements Store; it wakes at every change.
func (f *fakeStore) Watch(store.AccountID, store.MailboxID) Watch {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &fakeWatch{f, make(chan struct{}, 1)}
	f.watches[w] = true
	return w
}

// View implements Store: a copy of everything.
func (f *fakeStore) View() View {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.beforeView != nil {
		f.beforeView()
	}
	v := &fakeView{emails: maps.Clone(f.state.emails), subscriptions: maps.Clone(f.state.subscriptions), boxes: map[store.MailboxID]*fakeBox{}}
	for id, b := range f.state.boxes {
		v.boxes[id] = &fakeBox{mb: proto.CloneOf(b.mb), entries: maps.Clone(b.entries), changes: maps.Clone(b.changes)}
	}
	return v
}

type fakeView fakeState

func (v *fakeView) Close() {}

func (v *fakeView) Mailboxes(store.AccountID) (list []*storepb.Mailbox, err error) {
	for _, b := range v.boxes {
		list = append(list, b.mb)
	}
	return list, nil
}

func (v *fakeView) MailboxByName(_ store.AccountID, name string) (*storepb.Mailbox, error) {
	if b := (*fakeState)(v).byName(name); b != nil {
		return b.mb, nil
	}
	return nil, store.ErrNotFound
}

func (v *fakeView) Mailbox(_ store.AccountID, id store.MailboxID) (*storepb.Mailbox, error) {
	if b := v.boxes[id]; b != nil {
		return b.mb, nil
	}
	return nil, store.ErrNotFound
}

func (v *fakeView) Entry(_ store.AccountID, id store.MailboxID, uid store.UID) (*storepb.Entry, error) {
	if e := v.boxes[id].entries[uid]; e != nil {
		return e, nil
	}
	return nil, store.ErrNotFound
}

func (v *fakeView) Entries(_ store.AccountID, id store.MailboxID, from store.UID, f func(store.UID, *storepb.Entry) bool) error {
	b := v.boxes[id]
	if b == nil {
		return nil
	}
	for _, uid := range slices.Sorted(maps.Keys(b.entries)) {
		if uid >= from && !f(uid, b.entries[uid]) {
			break
		}
	}
	return nil
}

func (v *fakeView) ChangesSince(_ store.AccountID, id store.MailboxID, since store.ModSeq, f func(Change) bool) error {
	b := v.boxes[id]
	if b == nil {
		return nil
	}
	changes := slices.SortedFunc(maps.Values(b.changes), func(a, b Change) int { return int(a.ModSeq) - int(b.ModSeq) })
	for _, c := range changes {
		if c.ModSeq > since && !f(c) {
			break
		}
	}
	return nil
}

func (v *fakeView) Email(id store.EmailID) (*storepb.Email, error) {
	if e := v.emails[id]; e != nil {
		return e, nil
	}
	return nil, store.ErrNotFound
}

func (v *fakeView) Subscriptions(store.AccountID) ([]string, error) {
	return slices.Sorted(maps.Keys(v.subscriptions)), nil
}
