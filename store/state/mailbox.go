package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/storepb"
)

// inbox is the one name that is compared without regard to case (RFC 9051 §5.1).
const inbox = "INBOX"

// Separator stands between the levels of a mailbox's name.
const Separator = "/"

// normalisationTables are those of CanonicalName, which Apply uses: they are a part of the format of commands.
const normalisationTables = norm.Version

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

// mailboxID finds the mailbox of a canonical name.
func mailboxID(r kv.Reader, account uint64, name string) (id uint64, found bool, err error) {
	raw, err := r.Get(key(tabName, account, name))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("find the mailbox %q of account %d: %w", name, account, err)
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

// makeMailbox makes a mailbox under a free, canonical name. Its id and its UIDVALIDITY are never given to another one, whatever its name
// (RFC 9051 §2.3.1.1); that is why the clock may only push them on.
func (b *batch) makeMailbox(account uint64, name, use string) (*storepb.Mailbox, error) {
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	cr.NextMailbox++
	if cr.NextUidValidity = nextUIDValidity(cr.NextUidValidity, b.cmd.TimeUnixMs); cr.NextUidValidity == 0 {
		return nil, errors.New("all values of UIDVALIDITY were given out")
	}
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

// latestClock is the latest time, in seconds, that moves UIDVALIDITY on: a proposer whose clock is wrong must not use up its 32 bits.
const latestClock = 3 << 30 // in the year 2072

func nextUIDValidity(last uint32, timeUnixMs int64) uint32 {
	if last == math.MaxUint32 {
		return 0
	}
	return max(last+1, uint32(min(max(0, timeUnixMs/1000), latestClock)))
}

// specialUses are the attributes that a mailbox can be made with (RFC 6154 §2, and \Important).
var specialUses = []string{"", "\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Important", "\\Junk", "\\Sent", "\\Trash"}

func (b *batch) createMailbox(op *storepb.CreateMailbox) (*storepb.Result, error) {
	name, ok := CanonicalName(op.Name)
	if !ok || !slices.Contains(specialUses, op.SpecialUse) {
		return refuse(store.ErrInvalid, "a mailbox cannot be named so, or have that special use"), nil
	}
	if found, err := has(b, key(tabAccount, op.Account)); err != nil || !found {
		return refuse(store.ErrNotFound, "there is no such account"), err
	}
	if _, found, err := mailboxID(b, op.Account, name); err != nil || found {
		return refuse(store.ErrExists, "the mailbox %q exists", name), err
	}
	if res, err := b.roomForMailbox(op.Account); res != nil || err != nil {
		return res, err
	}
	if op.Subscribe {
		if res, err := b.subscribe(op.Account, name); res != nil || err != nil {
			return res, err
		}
	}
	mb, err := b.makeMailbox(op.Account, name, op.SpecialUse)
	if err != nil {
		return nil, err
	}
	return &storepb.Result{Id: mb.Id}, nil
}

// roomIn refuses when a part of a table is as long as it may become.
func (b *batch) roomIn(prefix []byte, limit int, what string) (*storepb.Result, error) {
	n := 0
	err := each(b, prefix, func(_, _ []byte) (bool, error) { n++; return n < limit, nil })
	if err != nil || n < limit {
		return nil, err
	}
	return refuse(store.ErrTooLarge, "there are %d %s, which is the limit", n, what), nil
}

// roomForMailbox refuses one more mailbox than the account may have.
func (b *batch) roomForMailbox(account uint64) (*storepb.Result, error) {
	l, err := b.limits()
	if err != nil {
		return nil, err
	}
	return b.roomIn(key(tabName, account), l.mailboxes, "mailboxes")
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
	if mb.Messages > MaxMessages {
		return refuse(store.ErrTooLarge, "the mailbox has %d messages, and at most %d may be left when it is deleted", mb.Messages, MaxMessages), nil
	}
	return &storepb.Result{}, b.dropMailbox(op.Account, mb)
}

// dropMailbox removes a mailbox with its messages. The caller has made sure that they are at most MaxMessages.
func (b *batch) dropMailbox(account uint64, mb *storepb.Mailbox) error {
	list, res, err := b.choose(account, mb.Id, everyUID(mb))
	if err != nil {
		return err
	}
	if res != nil {
		return fmt.Errorf("mailbox %d counts %d messages, and has more: the state is damaged", mb.Id, mb.Messages)
	}
	if err := b.removeEntries(account, mb, list); err != nil {
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
	if res, err := b.moveNames(op.Account, mb.Name, to); res != nil || err != nil {
		return res, err
	}
	b.touch(op.Account, 0)
	return &storepb.Result{Id: mb.Id}, nil
}

// moveNames renames a mailbox and all below it (RFC 9051 §6.3.6).
func (b *batch) moveNames(account uint64, from, to string) (*storepb.Result, error) {
	var moves []*storepb.Mailbox
	leaving := map[string]bool{}
	if err := eachMailbox(b, account, func(x *storepb.Mailbox) bool {
		if x.Name == from || strings.HasPrefix(x.Name, from+Separator) {
			moves = append(moves, x)
			leaving[x.Name] = true
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
		if _, found, err := mailboxID(b, account, name); err != nil || found && !leaving[name] {
			return refuse(store.ErrExists, "the mailbox %q exists", name), err
		}
	}
	for _, x := range moves {
		if err := b.Delete(key(tabName, account, x.Name)); err != nil {
			return nil, err
		}
	}
	for _, x := range moves {
		x.Name = to + strings.TrimPrefix(x.Name, from)
		if err := b.Set(key(tabName, account, x.Name), binary.BigEndian.AppendUint64(nil, x.Id)); err != nil {
			return nil, err
		}
		if err := b.saveMailbox(account, x); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// emptyInbox renames INBOX: its messages move, and it stays, empty (RFC 9051 §6.3.6).
func (b *batch) emptyInbox(account uint64, mb *storepb.Mailbox, to string) (*storepb.Result, error) {
	if mb.Messages > MaxMessages {
		return refuse(store.ErrTooLarge, "INBOX has %d messages, of which one command may move %d", mb.Messages, MaxMessages), nil
	}
	if res, err := b.roomForMailbox(account); res != nil || err != nil {
		return res, err
	}
	dst, err := b.makeMailbox(account, to, "")
	if err != nil {
		return nil, err
	}
	res, err := b.copyTo(account, mb, dst, everyUID(mb), true)
	if err != nil {
		return nil, err
	}
	if res.Code != 0 {
		return nil, fmt.Errorf("move all messages of INBOX: %s", res.Detail) // a new mailbox has room for them
	}
	res.Id = dst.Id
	return res, nil
}

func (b *batch) setSubscribed(op *storepb.SetSubscribed) (*storepb.Result, error) {
	name, ok := CanonicalName(op.Name)
	if !ok {
		return refuse(store.ErrInvalid, "%q cannot name a mailbox", op.Name), nil
	}
	if found, err := has(b, key(tabAccount, op.Account)); err != nil || !found {
		return refuse(store.ErrNotFound, "there is no such account"), err
	}
	b.touch(op.Account, 0)
	if op.Subscribed {
		if res, err := b.subscribe(op.Account, name); res != nil || err != nil {
			return res, err
		}
		return &storepb.Result{}, nil
	}
	return &storepb.Result{}, b.Delete(key(tabSubscribed, op.Account, name))
}

// subscribe notes a canonical name. There need be no mailbox of that name (RFC 9051 §6.3.7).
func (b *batch) subscribe(account uint64, name string) (*storepb.Result, error) {
	k := key(tabSubscribed, account, name)
	if found, err := has(b, k); err != nil || found {
		return nil, err
	}
	if res, err := b.roomIn(key(tabSubscribed, account), maxSubscriptions, "subscriptions"); res != nil || err != nil {
		return res, err
	}
	return nil, b.Set(k, nil)
}
