package state

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/storepb"
)

// world is a simple model of the mail: what the commands of a random log should do, written a second time without any store.
type world struct {
	accounts map[uint64]*worldAccount
	nextBox  uint64
	nextMail uint64
}

type worldAccount struct {
	quotaMessages, quotaBytes int64
	boxes                     map[uint64]*worldBox
	subscribed                map[string]bool
}

type worldBox struct {
	id       uint64
	name     string
	next     uint32
	modseq   uint64
	mail     map[uint32]*worldMail
	expunged map[uint32]uint64
}

type worldMail struct {
	flags    uint32
	keywords []string
	modseq   uint64
	bytes    int64
	email    uint64
}

func (w *world) newBox(a *worldAccount, name string) *worldBox {
	w.nextBox++
	b := &worldBox{id: w.nextBox, name: name, next: 1, modseq: 1, mail: map[uint32]*worldMail{}, expunged: map[uint32]uint64{}}
	a.boxes[b.id] = b
	return b
}

func (w *world) newAccount() {
	a := &worldAccount{boxes: map[uint64]*worldBox{}, subscribed: map[string]bool{}}
	for _, name := range []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"} {
		w.newBox(a, name)
		a.subscribed[name] = true
	}
	w.accounts[uint64(len(w.accounts)+1)] = a
}

func (a *worldAccount) named(name string) *worldBox {
	for _, b := range a.boxes {
		if b.name == name {
			return b
		}
	}
	return nil
}

func (a *worldAccount) usage() (n, size int64) {
	for _, b := range a.boxes {
		for _, m := range b.mail {
			n, size = n+1, size+m.bytes
		}
	}
	return n, size
}

func (a *worldAccount) fits(n, size int64) bool {
	haveN, haveSize := a.usage()
	return (a.quotaMessages == 0 || haveN+n <= a.quotaMessages) && (a.quotaBytes == 0 || haveSize+size <= a.quotaBytes)
}

func (b *worldBox) enter(m worldMail) uint32 {
	uid := b.next
	b.next++
	b.modseq++
	m.modseq = b.modseq
	b.mail[uid] = &m
	return uid
}

// selected lists the UIDs of a packed set that are there, in order.
func (b *worldBox) selected(packed []byte) (out []uint32) {
	set, _ := store.UnpackUIDs(packed)
	for _, uid := range slices.Sorted(maps.Keys(b.mail)) {
		if set.Contains(store.UID(uid)) {
			out = append(out, uid)
		}
	}
	return out
}

func (b *worldBox) remove(uids []uint32) {
	if len(uids) == 0 {
		return
	}
	b.modseq++
	for _, uid := range uids {
		delete(b.mail, uid)
		b.expunged[uid] = b.modseq
	}
}

// apply does what a command should do, and returns the error that it should be answered.
func (w *world) apply(c *storepb.Command) error {
	switch op := c.Op.(type) {
	case *storepb.Command_AddMessage:
		return w.add(op.AddMessage)
	case *storepb.Command_StoreFlags:
		return w.flags(op.StoreFlags)
	case *storepb.Command_Expunge:
		b := w.accounts[op.Expunge.Account].boxes[op.Expunge.Mailbox]
		if b == nil {
			return store.ErrNotFound
		}
		var gone []uint32
		for _, uid := range b.selected(op.Expunge.Uids) {
			if !op.Expunge.OnlyDeleted || b.mail[uid].flags&uint32(store.FlagDeleted) != 0 {
				gone = append(gone, uid)
			}
		}
		b.remove(gone)
	case *storepb.Command_CopyMessages:
		return w.copy(op.CopyMessages)
	case *storepb.Command_CreateMailbox:
		a := w.accounts[op.CreateMailbox.Account]
		if a.named(op.CreateMailbox.Name) != nil {
			return store.ErrExists
		}
		w.newBox(a, op.CreateMailbox.Name)
		if op.CreateMailbox.Subscribe {
			a.subscribed[op.CreateMailbox.Name] = true
		}
	case *storepb.Command_DeleteMailbox:
		a := w.accounts[op.DeleteMailbox.Account]
		switch b := a.boxes[op.DeleteMailbox.Mailbox]; {
		case b == nil:
			return store.ErrNotFound
		case b.name == "INBOX":
			return store.ErrInvalid
		default:
			delete(a.boxes, b.id)
		}
	case *storepb.Command_RenameMailbox:
		return w.rename(op.RenameMailbox)
	case *storepb.Command_SetSubscribed:
		if op.SetSubscribed.Subscribed {
			w.accounts[op.SetSubscribed.Account].subscribed[op.SetSubscribed.Name] = true
		} else {
			delete(w.accounts[op.SetSubscribed.Account].subscribed, op.SetSubscribed.Name)
		}
	case *storepb.Command_PutAccount:
		a := w.accounts[op.PutAccount.Account.Id]
		a.quotaMessages, a.quotaBytes = op.PutAccount.Account.QuotaMessages, op.PutAccount.Account.QuotaBytes
	}
	return nil
}

func (w *world) add(op *storepb.AddMessage) error {
	var first error
	placed := false
	for i, t := range op.Targets {
		a := w.accounts[t.Account]
		b := a.named("INBOX")
		if t.Mailbox != 0 {
			b = a.boxes[t.Mailbox]
		}
		var err error
		switch {
		case b == nil:
			err = store.ErrNotFound
		case t.EnforceQuota && !a.fits(1, op.Body.RawBytes):
			err = store.ErrOverQuota
		default:
			b.enter(worldMail{flags: t.Flags, keywords: t.Keywords, bytes: op.Body.RawBytes, email: w.nextMail + 1})
			placed = true
		}
		if i == 0 {
			first = err
		}
	}
	if !placed {
		return first
	}
	w.nextMail++
	return nil
}

func (w *world) flags(op *storepb.StoreFlags) error {
	b := w.accounts[op.Account].boxes[op.Mailbox]
	if b == nil {
		return store.ErrNotFound
	}
	changed := false
	for _, uid := range b.selected(op.Uids) {
		m := b.mail[uid]
		if op.HasUnchangedSince && m.modseq > op.UnchangedSince {
			continue
		}
		flags, keywords := op.Flags, op.Keywords
		switch op.Mode {
		case FlagsAdd:
			flags |= m.flags
			keywords = slices.Clone(m.keywords)
			for _, k := range op.Keywords {
				if !slices.Contains(keywords, k) {
					keywords = append(keywords, k)
				}
			}
		case FlagsRemove:
			flags = m.flags &^ op.Flags
			keywords = slices.DeleteFunc(slices.Clone(m.keywords), func(k string) bool { return slices.Contains(op.Keywords, k) })
		}
		if flags != m.flags || strings.Join(keywords, " ") != strings.Join(m.keywords, " ") {
			m.flags, m.keywords, m.modseq, changed = flags, keywords, b.modseq+1, true
		}
	}
	if changed {
		b.modseq++
	}
	return nil
}

func (w *world) copy(op *storepb.CopyMessages) error {
	a := w.accounts[op.Account]
	from, to := a.boxes[op.Mailbox], a.boxes[op.DestMailbox]
	if from == nil || to == nil {
		return store.ErrNotFound
	}
	uids := from.selected(op.Uids)
	size := int64(0)
	for _, uid := range uids {
		size += from.mail[uid].bytes
	}
	if !op.Move && !a.fits(int64(len(uids)), size) {
		return store.ErrOverQuota
	}
	for _, uid := range uids {
		to.enter(*from.mail[uid])
	}
	if op.Move {
		from.remove(uids)
	}
	return nil
}

func (w *world) rename(op *storepb.RenameMailbox) error {
	a := w.accounts[op.Account]
	b := a.boxes[op.Mailbox]
	if b == nil {
		return store.ErrNotFound
	}
	if strings.HasPrefix(op.Name, b.name+"/") {
		return store.ErrInvalid
	}
	if a.named(op.Name) != nil {
		return store.ErrExists
	}
	if b.name == "INBOX" {
		to := w.newBox(a, op.Name)
		uids := slices.Sorted(maps.Keys(b.mail))
		for _, uid := range uids {
			to.enter(*b.mail[uid])
		}
		b.remove(uids)
		return nil
	}
	from := b.name
	var moving []*worldBox
	for _, x := range a.boxes {
		if x.name == from || strings.HasPrefix(x.name, from+"/") {
			moving = append(moving, x)
		}
	}
	for _, x := range moving {
		if other := a.named(op.Name + x.name[len(from):]); other != nil && !slices.Contains(moving, other) {
			return store.ErrExists
		}
	}
	for _, x := range moving {
		x.name = op.Name + x.name[len(from):]
	}
	return nil
}

// compare tells what differs between the model and the machine.
func (w *world) compare(m *Machine) error {
	v := m.View()
	defer v.Close()
	for id, a := range w.accounts {
		boxes, err := v.Mailboxes(store.AccountID(id))
		if err != nil {
			return err
		}
		if len(boxes) != len(a.boxes) {
			return fmt.Errorf("account %d has %d mailboxes, want %d", id, len(boxes), len(a.boxes))
		}
		for _, mb := range boxes {
			if err := a.boxes[mb.Id].compare(v, id, mb); err != nil {
				return fmt.Errorf("account %d, mailbox %d: %w", id, mb.Id, err)
			}
		}
		names, err := v.Subscriptions(store.AccountID(id))
		if err != nil || !slices.Equal(names, slices.Sorted(maps.Keys(a.subscribed))) {
			return fmt.Errorf("account %d subscribes %q (%v), want %v", id, names, err, a.subscribed)
		}
		n, size := a.usage()
		if u, err := v.Usage(store.AccountID(id)); err != nil || u.Messages != n || u.Bytes != size {
			return fmt.Errorf("account %d uses %v (%v), want %d messages, %d bytes", id, u, err, n, size)
		}
	}
	return nil
}

func (b *worldBox) compare(v *View, account uint64, mb *storepb.Mailbox) error {
	if b == nil {
		return errors.New("it should not be there")
	}
	if mb.Name != b.name || mb.UidNext != b.next || mb.HighestModseq != b.modseq || int(mb.Messages) != len(b.mail) {
		return fmt.Errorf("it is %v, want name %q, next UID %d, modseq %d, %d messages", mb, b.name, b.next, b.modseq, len(b.mail))
	}
	changes := map[uint32]uint64{}
	for uid, modseq := range b.expunged {
		changes[uid] = modseq
	}
	var bad error
	err := v.Entries(store.AccountID(account), store.MailboxID(mb.Id), 1, func(uid store.UID, e *storepb.Entry) bool {
		m := b.mail[uint32(uid)]
		if m == nil || e.Flags != m.flags || !slices.Equal(e.Keywords, m.keywords) || e.Modseq != m.modseq || e.RawBytes != m.bytes || e.Email != m.email {
			bad = fmt.Errorf("UID %d is %v, want %v", uid, e, m)
			return false
		}
		changes[uint32(uid)] = m.modseq
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	err = v.ChangesSince(store.AccountID(account), store.MailboxID(mb.Id), 0, func(c Change) bool {
		_, expunged := b.expunged[uint32(c.UID)]
		if changes[uint32(c.UID)] != uint64(c.ModSeq) || expunged != (c.Kind == ChangeExpunged) {
			bad = fmt.Errorf("the change of UID %d is %v", c.UID, c)
		}
		delete(changes, uint32(c.UID))
		return true
	})
	if len(changes) > 0 && err == nil && bad == nil {
		bad = fmt.Errorf("changes that are not told: %v", changes)
	}
	return errors.Join(err, bad)
}

// modelStep is a sensible command.
func modelStep(s *story, w *world) *storepb.Command {
	r := s.r
	id := uint64(1 + r.IntN(len(w.accounts)))
	ids := slices.Sorted(maps.Keys(w.accounts[id].boxes))
	box := func() uint64 {
		if r.IntN(20) == 0 {
			return 9999
		}
		return ids[r.IntN(len(ids))]
	}
	name := func() string { return []string{"a", "a/b", "a/b/b", "Work", "Trash/x", "Work/a"}[r.IntN(6)] }
	keywords := [][]string{nil, {"$Junk"}, {"$Forwarded", "$Junk"}}[r.IntN(3)]
	switch r.IntN(14) {
	case 0, 1, 2, 3, 4:
		ref := s.ref()
		ref.Epoch = 1
		m := &storepb.AddMessage{Body: ref, Targets: []*storepb.Target{{Account: id, Flags: uint32(r.IntN(32)), Keywords: keywords, EnforceQuota: r.IntN(2) == 0}}}
		if r.IntN(2) == 0 {
			m.Targets[0].Mailbox = box()
		}
		if r.IntN(3) == 0 {
			m.Targets = append(m.Targets, &storepb.Target{Account: uint64(1 + r.IntN(len(w.accounts))), EnforceQuota: true})
		}
		return &storepb.Command{Op: &storepb.Command_AddMessage{AddMessage: m}}
	case 5, 6, 7:
		return &storepb.Command{Op: &storepb.Command_StoreFlags{StoreFlags: &storepb.StoreFlags{Account: id, Mailbox: box(), Uids: s.uids(), Mode: uint32(r.IntN(3)), Flags: uint32(r.IntN(32)),
			Keywords: keywords, HasUnchangedSince: r.IntN(3) == 0, UnchangedSince: uint64(r.IntN(50))}}}
	case 8:
		return &storepb.Command{Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: id, Mailbox: box(), Uids: s.uids(), OnlyDeleted: r.IntN(2) == 0}}}
	case 9, 10:
		return &storepb.Command{Op: &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: id, Mailbox: box(), DestMailbox: box(), Uids: s.uids(), Move: r.IntN(2) == 0}}}
	case 11:
		if r.IntN(3) == 0 {
			return &storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: &storepb.Account{Id: id, QuotaMessages: int64(r.IntN(100)), QuotaBytes: int64(r.IntN(400_000))}}}}
		}
		return &storepb.Command{Op: &storepb.Command_CreateMailbox{CreateMailbox: &storepb.CreateMailbox{Account: id, Name: name(), Subscribe: r.IntN(2) == 0}}}
	case 12:
		if r.IntN(2) == 0 {
			return &storepb.Command{Op: &storepb.Command_DeleteMailbox{DeleteMailbox: &storepb.DeleteMailbox{Account: id, Mailbox: box()}}}
		}
		return &storepb.Command{Op: &storepb.Command_SetSubscribed{SetSubscribed: &storepb.SetSubscribed{Account: id, Name: name(), Subscribed: r.IntN(2) == 0}}}
	}
	return &storepb.Command{Op: &storepb.Command_RenameMailbox{RenameMailbox: &storepb.RenameMailbox{Account: id, Mailbox: box(), Name: name()}}}
}

// The machine does what a simple model does, through restarts and restores, wherever batches are cut.
func TestMachineAgreesWithAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rounds := 60
	if os.Getenv("QUORUMAIL_SOAK") == "1" {
		rounds = 2000
	}
	s := newStory(t, seed)
	w := &world{accounts: map[uint64]*worldAccount{}}
	cfg := Config{Dir: t.TempDir(), Blobs: blob.NewMemory(), Self: "a", OnFatal: func(err error) { t.Error(err) }}
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { m.Close() }()
	if err := m.Apply(s.begin()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.newAccount()
	}
	for round := range rounds {
		var batch []Entry
		var want []error
		for range 1 + s.r.IntN(40) {
			c := modelStep(s, w)
			batch = append(batch, s.entry(s.command(0, c)))
			want = append(want, w.apply(c))
		}
		if err := m.Apply(batch); err != nil {
			t.Fatal(err)
		}
		compareResults(t, m, batch, want)
		switch s.r.IntN(8) {
		case 0:
			if err := m.Persist(); err != nil {
				t.Fatal(err)
			}
		case 1:
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			if m, err = Open(cfg); err != nil {
				t.Fatal(err)
			}
		case 2:
			_, size, stream, err := m.Checkpoint()
			if err != nil {
				t.Fatal(err)
			}
			var raw bytes.Buffer
			if n, err := raw.ReadFrom(stream); err != nil || n != size {
				t.Fatalf("a checkpoint of %d bytes, said to have %d (%v)", n, size, err)
			}
			if err := m.Restore(&raw); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.compare(m), m.Check()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// compareResults compares the answers that are still kept.
func compareResults(t *testing.T, m *Machine, batch []Entry, want []error) {
	t.Helper()
	for i, e := range batch {
		c := &storepb.Command{}
		if err := proto.Unmarshal(e.Command, c); err != nil {
			t.Fatal(err)
		}
		res, found := m.LookupResult([16]byte(c.Incarnation), c.Seq)
		if !found {
			continue
		}
		if got := CodeError(res.Code); !errors.Is(got, want[i]) || want[i] == nil && got != nil {
			t.Errorf("%v is answered %v, want %v", c, got, want[i])
		}
	}
}
