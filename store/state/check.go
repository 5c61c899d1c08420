package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// maxFindings bounds what Check reports.
const maxFindings = 20

// Check verifies every invariant of the state and reports all that it finds broken, up to a bound.
func (m *Machine) Check() error {
	v := m.View()
	defer v.Close()
	c := &checker{v: v, refs: map[uint64]uint32{}}
	for _, f := range []func() error{c.accounts, c.emails, c.addresses, c.missing} {
		if err := f(); err != nil {
			return fmt.Errorf("check the state: %w", err)
		}
	}
	return errors.Join(c.found...)
}

type checker struct {
	v     *View
	refs  map[uint64]uint32 // entries that show each email
	found []error
}

func (c *checker) broken(format string, args ...any) {
	if len(c.found) < maxFindings {
		c.found = append(c.found, fmt.Errorf(format, args...))
	}
}

// Invariant: usage, counters and the log of changes agree with the entries.
func (c *checker) accounts() error {
	var list []*storepb.Account
	if err := c.v.Accounts(0, func(a *storepb.Account) bool { list = append(list, a); return true }); err != nil {
		return err
	}
	for _, a := range list {
		used := &storepb.Usage{}
		boxes, err := c.v.Mailboxes(store.AccountID(a.Id))
		if err != nil {
			return err
		}
		for _, mb := range boxes {
			if err := c.mailbox(a.Id, mb, used); err != nil {
				return err
			}
		}
		u, err := c.v.Usage(store.AccountID(a.Id))
		if err != nil {
			return err
		}
		if u.Bytes != used.Bytes || u.Messages != used.Messages {
			c.broken("account %d is said to use %d bytes in %d messages and uses %d in %d", a.Id, u.Bytes, u.Messages, used.Bytes, used.Messages)
		}
	}
	return nil
}

func (c *checker) mailbox(account uint64, mb *storepb.Mailbox, used *storepb.Usage) error {
	if id, found, err := mailboxID(c.v, account, mb.Name); err != nil || !found || id != mb.Id {
		c.broken("the name %q of account %d does not lead to mailbox %d (%v)", mb.Name, account, mb.Id, err)
	}
	changes := map[store.UID]Change{}
	if err := c.v.ChangesSince(store.AccountID(account), store.MailboxID(mb.Id), 0, func(x Change) bool {
		if old, ok := changes[x.UID]; ok {
			c.broken("UID %d of mailbox %d stands in the log of changes at %d and %d", x.UID, mb.Id, old.ModSeq, x.ModSeq)
		}
		changes[x.UID] = x
		return true
	}); err != nil {
		return err
	}
	sum := &storepb.Mailbox{}
	err := c.v.Entries(store.AccountID(account), store.MailboxID(mb.Id), 1, func(uid store.UID, e *storepb.Entry) bool {
		c.refs[e.Email]++
		count(sum, e, 1)
		used.Bytes, used.Messages = used.Bytes+e.RawBytes, used.Messages+1
		if uint32(uid) >= mb.UidNext || e.Modseq > mb.HighestModseq {
			c.broken("UID %d with modseq %d lies beyond mailbox %d's %d and %d", uid, e.Modseq, mb.Id, mb.UidNext, mb.HighestModseq)
		}
		if x := changes[uid]; uint64(x.ModSeq) != e.Modseq || x.Kind == ChangeExpunged {
			c.broken("UID %d of mailbox %d has modseq %d and its change says %v", uid, mb.Id, e.Modseq, x)
		}
		delete(changes, uid)
		return true
	})
	for uid, x := range changes {
		if x.Kind != ChangeExpunged {
			c.broken("the log of changes of mailbox %d names UID %d, which is not there", mb.Id, uid)
		}
	}
	if sum.Messages != mb.Messages || sum.Unseen != mb.Unseen || sum.Deleted != mb.Deleted || sum.SizeBytes != mb.SizeBytes {
		c.broken("mailbox %d counts %d messages, %d unseen, %d deleted, %d bytes and has %d, %d, %d, %d", mb.Id,
			mb.Messages, mb.Unseen, mb.Deleted, mb.SizeBytes, sum.Messages, sum.Unseen, sum.Deleted, sum.SizeBytes)
	}
	return err
}

// Invariant: each email is counted as often as it is shown, and has one body; one that is not shown has a tombstone.
func (c *checker) emails() error {
	err := each(c.v, key(tabRefs), func(rest, raw []byte) (bool, error) {
		id, r := binary.BigEndian.Uint64(rest), &storepb.EmailRefs{}
		if err := proto.Unmarshal(raw, r); err != nil {
			return false, err
		}
		if r.Refs != c.refs[id] {
			c.broken("email %d is said to be shown %d times and is %d times", id, r.Refs, c.refs[id])
		}
		delete(c.refs, id)
		e := &storepb.Email{}
		if err := must(c.v, key(tabEmail, id), e); err != nil {
			c.broken("email %d: %v", id, err)
			return true, nil
		}
		if found, err := has(c.v, key(tabBody, e.BodyId)); err != nil || !found {
			c.broken("the body of email %d is not listed (%v)", id, err)
		}
		if dead, err := has(c.v, key(tabTombstone, r.TombstoneTick, id)); err != nil || dead != (r.Refs == 0) {
			c.broken("email %d is shown %d times and has a tombstone: %v (%v)", id, r.Refs, dead, err)
		}
		return true, nil
	})
	for id := range c.refs {
		c.broken("email %d is shown and does not exist", id)
	}
	return err
}

// Invariant: every address leads to an account that knows it, or to an alias.
func (c *checker) addresses() error {
	return eachAddress(c.v, func(address string, raw []byte) bool {
		if raw[0] != 'a' {
			return true
		}
		a, err := c.v.Account(store.AccountID(binary.BigEndian.Uint64(raw[1:])))
		if err != nil || a.Address != address {
			c.broken("the address %s leads to no account of that address (%v)", address, err)
		}
		return true
	})
}

// Invariant: only live bodies are missed.
func (c *checker) missing() error {
	return each(c.v, key(tabMissing), func(rest, _ []byte) (bool, error) {
		if len(rest) < len(store.BodyID{}) {
			c.broken("a missing body without an id")
			return true, nil
		}
		body := rest[len(rest)-len(store.BodyID{}):]
		if found, err := has(c.v, key(tabBody, body)); err != nil || !found {
			c.broken("the body %x is missed and not live (%v)", body, err)
		}
		return true, nil
	})
}
