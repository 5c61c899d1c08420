package state

import (
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Entry is one committed entry of the log. Command is nil for entries that only move the position.
type Entry struct {
	Index, Term uint64
	Command     []byte
	// Configuration is set for a change of membership: its Servers, and as ConfigurationIndex the index of this entry. Its other
	// fields are not looked at.
	Configuration *storepb.LogPosition
}

// MailboxRef names a mailbox of an account; Mailbox 0 is the account's list of mailboxes and subscriptions.
type MailboxRef struct {
	Account store.AccountID
	Mailbox store.MailboxID
}

// AppliedResult is the answer to a command, also to one that was answered before.
type AppliedResult struct {
	Incarnation [16]byte
	Seq         uint64
	Result      *storepb.Result // read only
}

// Applied says what a batch of entries changed.
type Applied struct {
	Index         uint64            // of the last entry
	Results       []AppliedResult   // of all commands, in order
	Changed       []MailboxRef      // each once, ascending
	Credentials   []store.AccountID // accounts whose credentials, suspension or existence changed; each once, ascending
	Settings      bool              // a setting, a domain or an alias changed
	Cluster       bool              // servers, membership, epoch, ticks, version, reconfiguration, invites or secrets changed
	Missing       bool              // bodies were recorded as missing at some server
	DroppedBodies []store.BodyID    // no longer referred to by anything: each node deletes its copy
}

// ChangeKind says what happened last to a message in a mailbox.
type ChangeKind byte

// The kinds of changes. Their values are part of the disk's format.
const (
	// ChangeNew: it was added, and not changed since.
	ChangeNew ChangeKind = 1
	// ChangeFlags: its flags changed last.
	ChangeFlags ChangeKind = 2
	// ChangeExpunged: it is gone.
	ChangeExpunged ChangeKind = 3
)

// Change is the last change of one message in a mailbox.
type Change struct {
	UID    store.UID
	ModSeq store.ModSeq
	Kind   ChangeKind
}

// Recipient is one account that gets an address's mail.
type Recipient struct {
	Account store.AccountID
	Address string          // the address that led to the account: its own, or the one in its domain that a catch-all took
	Detail  string          // what stood behind the plus sign of the local part; "" if nothing
	Mailbox store.MailboxID // 0: INBOX
}

// Body is a live body: one that an email refers to.
type Body struct {
	ID                     store.BodyID
	Email                  store.EmailID
	RawBytes, EncodedBytes int64
	Inline                 bool // it travelled in its command
}
