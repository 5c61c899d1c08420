package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Invariant: every address leads to an account that knows it, or to an alias of that address.
func (c *checker) addresses() error {
	return each(c.v, key(tabAddress), func(rest, raw []byte) (bool, error) {
		address := string(rest)
		switch {
		case len(raw) == 9 && raw[0] == 'a':
			a := &storepb.Account{}
			found, err := load(c.v, key(tabAccount, raw[1:]), a)
			if err != nil {
				return false, err
			}
			if !found || a.Address != address {
				c.broken("the address %s leads to no account of that address", address)
			}
		case len(raw) > 0 && raw[0] == 'l':
			a := &storepb.Alias{}
			if err := proto.Unmarshal(raw[1:], a); err != nil || a.Address != address {
				c.broken("the address %s is no alias's (%v)", address, err)
			}
		default:
			c.broken("the address %s leads to nothing", address)
		}
		return true, nil
	})
}

// Invariant: an account has its address, and an INBOX; what belongs to an account belongs to one that exists.
func (c *checker) accounts() error {
	a := &storepb.Account{}
	if err := c.walk(tabAccount, a, func(rest []byte) error {
		if len(rest) != 8 || binary.BigEndian.Uint64(rest) != a.Id || a.Id == 0 || a.Id > c.cr.NextAccount {
			c.broken("account %d stands at %x, and ids were given out up to %d", a.Id, rest, c.cr.NextAccount)
			return nil
		}
		raw, err := c.v.Get(key(tabAddress, a.Address))
		if err != nil || len(raw) != 9 || raw[0] != 'a' || binary.BigEndian.Uint64(raw[1:]) != a.Id {
			c.broken("the address %s does not lead to account %d (%v)", a.Address, a.Id, err)
		}
		return c.exists(key(tabName, a.Id, inbox), "account %d has no INBOX", a.Id)
	}); err != nil {
		return err
	}
	for _, table := range []byte{tabCredential, tabUsage, tabMailbox, tabName, tabSubscribed, tabEntry, tabChange} {
		if err := c.owners(table); err != nil {
			return err
		}
	}
	return nil
}

// owners looks at each account once that has anything in a table.
func (c *checker) owners(table byte) error {
	prefix := key(table)
	for from, end := prefix, after(prefix); ; {
		k, err := keysOf(c.v, from, end, 1)
		if err != nil || len(k) == 0 {
			return err
		}
		rest := k[0][len(prefix):]
		if len(rest) < 8 {
			c.broken("table %c has an entry of no account", table)
			from = append(k[0], 0)
			continue
		}
		if err := c.exists(key(tabAccount, rest[:8]), "table %c has entries of account %x, which does not exist", table, rest[:8]); err != nil {
			return err
		}
		if from = after(k[0][:len(prefix)+8]); from == nil {
			return nil
		}
	}
}

// Invariant: usage, counters and the log of changes agree with the entries; names and mailboxes lead to each other.
func (c *checker) mailboxes() error {
	used, of := &storepb.Usage{}, uint64(0)
	flush := func() error {
		u := &storepb.Usage{}
		if _, err := load(c.v, key(tabUsage, of), u); err != nil {
			return err
		}
		if u.Bytes != used.Bytes || u.Messages != used.Messages {
			c.broken("account %d is said to use %d bytes in %d messages and uses %d in %d", of, u.Bytes, u.Messages, used.Bytes, used.Messages)
		}
		used.Reset()
		return nil
	}
	var ids, validities counts
	mb := &storepb.Mailbox{}
	if err := c.walk(tabMailbox, mb, func(rest []byte) error {
		if len(rest) != 16 || binary.BigEndian.Uint64(rest[8:]) != mb.Id || mb.Id == 0 || mb.Id > c.cr.NextMailbox {
			c.broken("mailbox %d stands at %x, and ids were given out up to %d", mb.Id, rest, c.cr.NextMailbox)
			return nil
		}
		if ids.add(mb.Id) > 1 || validities.add(uint64(mb.UidValidity)) > 1 || mb.UidValidity == 0 || mb.UidValidity > c.cr.NextUidValidity {
			c.broken("mailbox %d or its UIDVALIDITY %d is there twice, or was never given out", mb.Id, mb.UidValidity)
		}
		if account := binary.BigEndian.Uint64(rest); account != of {
			if err := flush(); err != nil {
				return err
			}
			of = account
		}
		return c.mailbox(of, mb, used)
	}); err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	return c.names()
}

// names: every name leads to a mailbox of that name, subscriptions are names, and entries and changes are in mailboxes.
func (c *checker) names() error {
	if err := each(c.v, key(tabName), func(rest, raw []byte) (bool, error) {
		mb := &storepb.Mailbox{}
		if len(rest) < 8 || len(raw) != 8 {
			c.broken("the mailbox name %q leads nowhere", rest)
			return true, nil
		}
		found, err := load(c.v, key(tabMailbox, rest[:8], raw), mb)
		if err == nil && (!found || mb.Name != string(rest[8:])) {
			c.broken("the name %q of account %x leads to no mailbox of that name", rest[8:], rest[:8])
		}
		return true, err
	}); err != nil {
		return err
	}
	if err := each(c.v, key(tabSubscribed), func(rest, _ []byte) (bool, error) {
		if name, ok := CanonicalName(string(rest[min(8, len(rest)):])); !ok || name != string(rest[8:]) {
			c.broken("a subscription of what can be no mailbox: %q", rest)
		}
		return true, nil
	}); err != nil {
		return err
	}
	for _, table := range []byte{tabEntry, tabChange} {
		prefix := key(table)
		for from := prefix; from != nil; {
			k, err := keysOf(c.v, from, after(prefix), 1)
			if err != nil {
				return err
			}
			if len(k) == 0 {
				break
			}
			if len(k[0]) < len(prefix)+16 {
				c.broken("table %c has an entry of no mailbox", table)
				from = append(k[0], 0)
				continue
			}
			box := k[0][len(prefix) : len(prefix)+16]
			if err := c.exists(key(tabMailbox, box), "table %c has entries of mailbox %x, which does not exist", table, box); err != nil {
				return err
			}
			from = after(k[0][:len(prefix)+16])
		}
	}
	return nil
}

func (c *checker) mailbox(account uint64, mb *storepb.Mailbox, used *storepb.Usage) error {
	if id, found, err := mailboxID(c.v, account, mb.Name); err != nil || !found || id != mb.Id {
		c.broken("the name %q of account %d does not lead to mailbox %d (%v)", mb.Name, account, mb.Id, err)
	}
	if err := c.changes(account, mb); err != nil {
		return err
	}
	sum := &storepb.Mailbox{}
	err := c.v.Entries(store.AccountID(account), store.MailboxID(mb.Id), 0, func(uid store.UID, e *storepb.Entry) bool {
		c.refs.add(e.Email)
		count(sum, e, 1)
		used.Bytes, used.Messages = used.Bytes+e.RawBytes, used.Messages+1
		if uid == 0 || uint32(uid) >= mb.UidNext || e.Modseq > mb.HighestModseq || e.Email > c.cr.NextEmail {
			c.broken("UID %d with modseq %d lies beyond mailbox %d's %d and %d", uid, e.Modseq, mb.Id, mb.UidNext, mb.HighestModseq)
		}
		raw, err := c.v.Get(changeKey(account, mb.Id, e.Modseq, uid))
		if err != nil || len(raw) != 1 || raw[0] == changeExpunged {
			c.broken("UID %d of mailbox %d has modseq %d and its change says %q (%v)", uid, mb.Id, e.Modseq, raw, err)
		}
		return true
	})
	if sum.Messages != mb.Messages || sum.Unseen != mb.Unseen || sum.Deleted != mb.Deleted || sum.SizeBytes != mb.SizeBytes {
		c.broken("mailbox %d counts %d messages, %d unseen, %d deleted, %d bytes and has %d, %d, %d, %d", mb.Id,
			mb.Messages, mb.Unseen, mb.Deleted, mb.SizeBytes, sum.Messages, sum.Unseen, sum.Deleted, sum.SizeBytes)
	}
	return err
}

// changes: each UID stands in the log of changes once, and what it says agrees with the entry.
func (c *checker) changes(account uint64, mb *storepb.Mailbox) error {
	var uids counts
	prefix := key(tabChange, account, mb.Id)
	return each(c.v, prefix, func(rest, raw []byte) (bool, error) {
		if len(rest) != 12 || len(raw) != 1 {
			c.broken("mailbox %d has a change of no message", mb.Id)
			return true, nil
		}
		modseq, uid := binary.BigEndian.Uint64(rest), store.UID(binary.BigEndian.Uint32(rest[8:]))
		if uids.add(uint64(uid)) > 1 {
			c.broken("UID %d of mailbox %d stands in the log of changes twice", uid, mb.Id)
		}
		if modseq > mb.HighestModseq || uint32(uid) >= mb.UidNext {
			c.broken("the change %d of UID %d lies beyond mailbox %d's %d and %d", modseq, uid, mb.Id, mb.HighestModseq, mb.UidNext)
		}
		e := &storepb.Entry{}
		found, err := load(c.v, entryKey(account, mb.Id, uid), e)
		if err != nil {
			return false, err
		}
		if found == (raw[0] == changeExpunged) || found && e.Modseq != modseq {
			c.broken("the log of changes of mailbox %d says %q at %d of UID %d, which is there: %v, with %d", mb.Id, raw, modseq, uid, found, e.Modseq)
		}
		return true, nil
	})
}

// Invariant: each email is counted as often as it is shown, and has one body; one that is not shown has a tombstone.
func (c *checker) emails() error {
	e, r := &storepb.Email{}, &storepb.EmailRefs{}
	if err := c.walk(tabEmail, e, func(rest []byte) error {
		if len(rest) != 8 {
			c.broken("an email without an id")
			return nil
		}
		id := binary.BigEndian.Uint64(rest)
		if id == 0 || id > c.cr.NextEmail {
			c.broken("email %d was never given out: they end at %d", id, c.cr.NextEmail)
		}
		c.ofEmails.add(e.BodyId, id)
		return c.exists(key(tabRefs, id), "email %d is not counted", id)
	}); err != nil {
		return err
	}
	if err := c.walk(tabRefs, r, func(rest []byte) error {
		if len(rest) != 8 {
			c.broken("a count of no email")
			return nil
		}
		id := binary.BigEndian.Uint64(rest)
		if shown := c.refs.take(id); r.Refs != shown {
			c.broken("email %d is said to be shown %d times and is %d times", id, r.Refs, shown)
		}
		if dead, err := has(c.v, key(tabTombstone, r.TombstoneTick, id)); err != nil || dead != (r.Refs == 0) {
			c.broken("email %d is shown %d times and has a tombstone: %v (%v)", id, r.Refs, dead, err)
		}
		return c.exists(key(tabEmail, id), "email %d is counted and does not exist", id)
	}); err != nil {
		return err
	}
	c.refs.each(func(id uint64) { c.broken("email %d is shown and does not exist", id) })
	return nil
}

// Invariant: a tombstone is of an email that nothing shows, since that tick.
func (c *checker) tombstones() error {
	return each(c.v, key(tabTombstone), func(rest, _ []byte) (bool, error) {
		r := &storepb.EmailRefs{}
		if len(rest) != 16 {
			c.broken("a tombstone of nothing")
			return true, nil
		}
		tick, id := binary.BigEndian.Uint64(rest), binary.BigEndian.Uint64(rest[8:])
		found, err := load(c.v, key(tabRefs, id), r)
		if err == nil && (!found || r.Refs > 0 || r.TombstoneTick != tick || tick > c.cr.TicksMs) {
			c.broken("email %d has a tombstone of tick %d and is: %v, %v", id, tick, found, r)
		}
		return true, err
	})
}

// Invariant: each email has one body and each body is that of one email. Both tables are walked in their own order and summed up; only
// when the sums differ are the pairs looked for one by one, for there is no order in which that is quick.
func (c *checker) bodies() error {
	var listed pairs
	if err := each(c.v, key(tabBody), func(rest, raw []byte) (bool, error) {
		if len(rest) != store.BodyIDBytes || len(raw) != 8 {
			c.broken("a body that leads to nothing")
			return true, nil
		}
		listed.add(rest, binary.BigEndian.Uint64(raw))
		return true, nil
	}); err != nil || listed == c.ofEmails {
		return err
	}
	return errors.Join(c.eachEmailsBody(), c.eachBodysEmail())
}

func (c *checker) eachEmailsBody() error {
	e := &storepb.Email{}
	return c.walk(tabEmail, e, func(rest []byte) error {
		raw, err := c.v.Get(key(tabBody, e.BodyId))
		if err != nil || !bytes.Equal(raw, rest) || len(e.BodyId) != store.BodyIDBytes {
			c.broken("the body of email %x is not listed as its own (%v)", rest, err)
		}
		return nil
	})
}

func (c *checker) eachBodysEmail() error {
	return each(c.v, key(tabBody), func(rest, raw []byte) (bool, error) {
		e := &storepb.Email{}
		found, err := load(c.v, key(tabEmail, raw), e)
		if err == nil && (!found || !bytes.Equal(e.BodyId, rest)) {
			c.broken("the body %x leads to email %x, whose body it is not", rest, raw)
		}
		return true, err
	})
}

// pairs is a sum over pairs of a body and an email, whatever their order.
type pairs struct{ n, a, b uint64 }

func (p *pairs) add(body []byte, email uint64) {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(append(make([]byte, 0, 64), body...), email))
	p.n++
	p.a += binary.BigEndian.Uint64(sum[:])
	p.b += binary.BigEndian.Uint64(sum[8:])
}
