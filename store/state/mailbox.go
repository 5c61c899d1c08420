package state

import (
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/storepb"
)

// Limits of mailboxes.
const (
	maxNameBytes = 1000
	maxNameDepth = 20
)

// inbox is the one name that is compared without regard to case (RFC 9051 §5.1).
const inbox = "INBOX"

// Separator stands between the levels of a mailbox's name.
const Separator = "/"

// CanonicalName is a mailbox's name as it is kept, or false if no mailbox can be named so.
func CanonicalName(name string) (string, bool) {
	if !utf8.ValidString(name) || name == "" || len(name) > maxNameBytes {
		return "", false
	}
	name = norm.NFC.String(name)
	first, rest, nested := strings.Cut(name, Separator)
	if strings.EqualFold(first, inbox) {
		if name = inbox; nested {
			name += Separator + rest
		}
	}
	parts := strings.Split(name, Separator)
	if len(parts) > maxNameDepth {
		return "", false
	}
	for _, p := range parts {
		if p == "" || strings.ContainsFunc(p, unicode.IsControl) || strings.ContainsAny(p, "*%") {
			return "", false
		}
	}
	return name, true
}

func mailboxID(r kv.Reader, account uint64, name string) (uint64, bool, error) {
	raw, err := r.Get(key(tabName, account, name))
	if err != nil {
		found, herr := has(r, key(tabName, account, name))
		return 0, found, herr
	}
	return binary.BigEndian.Uint64(raw), true, nil
}

// mailbox reads a mailbox, nil for none.
func (b *batch) mailbox(account, id uint64) (*storepb.Mailbox, error) {
	mb := &storepb.Mailbox{}
	found, err := load(b, key(tabMailbox, account, id), mb)
	if err != nil || !found {
		return nil, err
	}
	return mb, nil
}

func (b *batch) saveMailbox(account uint64, mb *storepb.Mailbox) error {
	b.touch(account, mb.Id)
	return b.save(key(tabMailbox, account, mb.Id), mb)
}

// makeMailbox makes a mailbox under a free, canonical name.
func (b *batch) makeMailbox(account uint64, name, use string) (*storepb.Mailbox, error) {
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	cr.NextMailbox++
	cr.NextUidValidity = max(cr.NextUidValidity+1, uint32(b.cmd.TimeUnixMs/1000))
	if err := b.saveCluster(cr); err != nil {
		return nil, err
	}
	mb := &storepb.Mailbox{Id: cr.NextMailbox, Name: name, UidValidity: cr.NextUidValidity, UidNext: 1, HighestModseq: 1, SpecialUse: use, CreatedUnixMs: b.cmd.TimeUnixMs}
	b.touch(account, 0)
	if err := b.Set(key(tabName, account, name), binary.BigEndian.AppendUint64(nil, mb.Id)); err != nil {
		return nil, err
	}
	return mb, b.saveMailbox(account, mb)
}

func (b *batch) createMailbox(op *storepb.CreateMailbox) (*storepb.Result, error) {
	name, ok := CanonicalName(op.Name)
	if !ok {
		return refuse(store.ErrInvalid, "%q cannot name a mailbox", op.Name), nil
	}
	if found, err := has(b, key(tabAccount, op.Account)); err != nil || !found {
		return refuse(store.ErrNotFound, "there is no such account"), err
	}
	if _, found, err := mailboxID(b, op.Account, name); err != nil || found {
		return refuse(store.ErrExists, "the mailbox %q exists", name), err
	}
	l, err := b.limits()
	if err != nil {
		return nil, err
	}
	n := 0
	if err := eachMailbox(b, op.Account, func(*storepb.Mailbox) bool { n++; return true }); err != nil {
		return nil, err
	}
	if n >= l.mailboxes {
		return refuse(store.ErrTooLarge, "the account has %d mailboxes, which is the limit", n), nil
	}
	mb, err := b.makeMailbox(op.Account, name, op.SpecialUse)
	if err != nil {
		return nil, err
	}
	if op.Subscribe {
		if err := b.Set(key(tabSubscribed, op.Account, name), nil); err != nil {
			return nil, err
		}
	}
	return &storepb.Result{Id: mb.Id}, nil
}

func (b *batch) deleteMailbox(op *storepb.DeleteMailbox) (*storepb.Result, error) {
	mb, err := b.mailbox(op.Account, op.Mailbox)
	if err != nil {
		return nil, err
	}
	if mb == nil {
		return refuse(store.ErrNotFound, "there is no such mailbox"), nil
	}
	if mb.Name == inbox {
		return refuse(store.ErrInvalid, "INBOX cannot be deleted"), nil
	}
	return &storepb.Result{}, b.dropMailbox(op.Account, mb)
}

func (b *batch) dropMailbox(account uint64, mb *storepb.Mailbox) error {
	if _, err := b.removeEntries(account, mb, everyUID, false); err != nil {
		return err
	}
	b.touch(account, 0)
	b.touch(account, mb.Id)
	changes := key(tabChange, account, mb.Id)
	if err := b.DeleteRange(changes, after(changes)); err != nil {
		return err
	}
	if err := b.Delete(key(tabName, account, mb.Name)); err != nil {
		return err
	}
	return b.Delete(key(tabMailbox, account, mb.Id))
}

func (b *batch) renameMailbox(op *storepb.RenameMailbox) (*storepb.Result, error) {
	mb, err := b.mailbox(op.Account, op.Mailbox)
	if err != nil {
		return nil, err
	}
	if mb == nil {
		return refuse(store.ErrNotFound, "there is no such mailbox"), nil
	}
	to, ok := CanonicalName(op.Name)
	if !ok || strings.HasPrefix(to, mb.Name+Separator) {
		return refuse(store.ErrInvalid, "%q cannot be the new name", op.Name), nil
	}
	if _, found, err := mailboxID(b, op.Account, to); err != nil || found {
		return refuse(store.ErrExists, "the mailbox %q exists", to), err
	}
	if mb.Name == inbox {
		return b.emptyInbox(op.Account, mb, to)
	}
	from := mb.Name
	var moves []*storepb.Mailbox
	if err := eachMailbox(b, op.Account, func(x *storepb.Mailbox) bool {
		if x.Name == from || strings.HasPrefix(x.Name, from+Separator) {
			moves = append(moves, x)
		}
		return true
	}); err != nil {
		return nil, err
	}
	for _, x := range moves {
		name := to + strings.TrimPrefix(x.Name, from)
		if _, ok := CanonicalName(name); !ok {
			return refuse(store.ErrInvalid, "%q cannot name a mailbox", name), nil
		}
		if _, found, err := mailboxID(b, op.Account, name); err != nil || found {
			return refuse(store.ErrExists, "the mailbox %q exists", name), err
		}
	}
	for _, x := range moves {
		if err := b.Delete(key(tabName, op.Account, x.Name)); err != nil {
			return nil, err
		}
		x.Name = to + strings.TrimPrefix(x.Name, from)
		if err := b.Set(key(tabName, op.Account, x.Name), binary.BigEndian.AppendUint64(nil, x.Id)); err != nil {
			return nil, err
		}
		if err := b.saveMailbox(op.Account, x); err != nil {
			return nil, err
		}
	}
	b.touch(op.Account, 0)
	return &storepb.Result{Id: mb.Id}, nil
}

// emptyInbox renames INBOX: its messages move, and it stays, empty (RFC 9051 §6.3.6).
func (b *batch) emptyInbox(account uint64, mb *storepb.Mailbox, to string) (*storepb.Result, error) {
	dst, err := b.makeMailbox(account, to, "")
	if err != nil {
		return nil, err
	}
	return b.copyMessages(&storepb.CopyMessages{Account: account, Mailbox: mb.Id, Uids: store.PackUIDs(everyUID), DestMailbox: dst.Id, Move: true})
}

func (b *batch) setSubscribed(op *storepb.SetSubscribed) (*storepb.Result, error) {
	name, ok := CanonicalName(op.Name)
	if !ok {
		return refuse(store.ErrInvalid, "%q cannot name a mailbox", op.Name), nil
	}
	b.touch(op.Account, 0)
	if op.Subscribed {
		return &storepb.Result{}, b.Set(key(tabSubscribed, op.Account, name), nil)
	}
	return &storepb.Result{}, b.Delete(key(tabSubscribed, op.Account, name))
}
