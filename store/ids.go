package store

import "fmt"

// GroupID names a replication group. There is one group today; the id stands in every key and command so that there can be more.
type GroupID uint16

// AccountID names an account for ever: it is never given to another one.
type AccountID uint64

// MailboxID names a mailbox for ever, also across renames (RFC 8474 MAILBOXID).
type MailboxID uint64

// EmailID names the immutable content of a message (RFC 8474 EMAILID). Copies in several mailboxes share it.
type EmailID uint64

// UID is a message's number in its mailbox, strictly ascending and never used again (RFC 9051 §2.3.1.1). Zero is none.
type UID uint32

// UIDValidity tells whether UIDs learned earlier still hold (RFC 9051 §2.3.1.1).
type UIDValidity uint32

// ModSeq counts the changes of a mailbox (RFC 7162).
type ModSeq uint64

// ServerID names a node of the cluster. It lives in the node's data folder and dies with it.
type ServerID string

// String is the id as IMAP's OBJECTID shows it.
func (id MailboxID) String() string { return fmt.Sprintf("M%x", uint64(id)) }

// String is the id as IMAP's OBJECTID shows it.
func (id EmailID) String() string { return fmt.Sprintf("E%x", uint64(id)) }
