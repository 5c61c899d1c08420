package imap

import "github.com/quorumail/quorumail/protocol/mime"

// Flag is a message flag or keyword. System flags are normalised to the constants' spelling; keywords keep
// the client's. Compare keywords without regard to case.
type Flag string

// System flags (RFC 9051 §2.3.2; \Recent is of RFC 3501 alone).
const (
	FlagSeen     Flag = `\Seen`
	FlagAnswered Flag = `\Answered`
	FlagFlagged  Flag = `\Flagged`
	FlagDeleted  Flag = `\Deleted`
	FlagDraft    Flag = `\Draft`
	FlagRecent   Flag = `\Recent`
	FlagWildcard Flag = `\*` // in PERMANENTFLAGS: new keywords may be made
)

// MailboxAttr is a mailbox name attribute (RFC 9051 §7.3.1, RFC 6154 §2).
type MailboxAttr string

// Mailbox attributes.
const (
	AttrNoInferiors   MailboxAttr = `\Noinferiors`
	AttrNoSelect      MailboxAttr = `\Noselect`
	AttrNonExistent   MailboxAttr = `\NonExistent`
	AttrMarked        MailboxAttr = `\Marked`
	AttrUnmarked      MailboxAttr = `\Unmarked`
	AttrHasChildren   MailboxAttr = `\HasChildren`
	AttrHasNoChildren MailboxAttr = `\HasNoChildren`
	AttrSubscribed    MailboxAttr = `\Subscribed`
	AttrRemote        MailboxAttr = `\Remote`
	AttrAll           MailboxAttr = `\All`
	AttrArchive       MailboxAttr = `\Archive`
	AttrDrafts        MailboxAttr = `\Drafts`
	AttrFlagged       MailboxAttr = `\Flagged`
	AttrImportant     MailboxAttr = `\Important`
	AttrJunk          MailboxAttr = `\Junk`
	AttrSent          MailboxAttr = `\Sent`
	AttrTrash         MailboxAttr = `\Trash`
)

// StatusItem is a STATUS data item (RFC 9051 §6.3.11).
type StatusItem string

// STATUS data items.
const (
	StatusMessages       StatusItem = "MESSAGES"
	StatusRecent         StatusItem = "RECENT"
	StatusUIDNext        StatusItem = "UIDNEXT"
	StatusUIDValidity    StatusItem = "UIDVALIDITY"
	StatusUnseen         StatusItem = "UNSEEN"
	StatusDeleted        StatusItem = "DELETED"
	StatusSize           StatusItem = "SIZE"
	StatusHighestModSeq  StatusItem = "HIGHESTMODSEQ"   // RFC 7162
	StatusAppendLimit    StatusItem = "APPENDLIMIT"     // RFC 7889
	StatusMailboxID      StatusItem = "MAILBOXID"       // RFC 8474
	StatusDeletedStorage StatusItem = "DELETED-STORAGE" // RFC 9208
)

// FetchKind is the sort of a FETCH data item.
type FetchKind uint8

// FETCH data items (RFC 9051 §6.4.5 unless noted).
const (
	FetchEnvelope FetchKind = iota + 1
	FetchFlags
	FetchInternalDate
	FetchRFC822Size
	FetchUID
	FetchBody          // BODY without a section: the structure without extension data
	FetchBodyStructure // BODYSTRUCTURE
	FetchSection       // BODY[...], RFC822, RFC822.HEADER, RFC822.TEXT
	FetchBinary        // BINARY[...] (RFC 3516)
	FetchBinarySize    // BINARY.SIZE[...] (RFC 3516)
	FetchModSeq        // RFC 7162
	FetchPreview       // RFC 8970
	FetchEmailID       // RFC 8474
	FetchThreadID      // RFC 8474
	FetchSaveDate      // RFC 8514
)

// FetchItem is one data item that a client wants of each message.
type FetchItem struct {
	Kind    FetchKind
	Section *Section // of FetchSection, FetchBinary and FetchBinarySize
	Lazy    bool     // PREVIEW (LAZY)
}

// Section is what stands between the brackets of BODY[...] (RFC 9051 §6.4.5.1).
type Section struct {
	Path   []int // part numbers, empty for the message
	Spec   mime.Specifier
	Fields []string // as the client spelled them, of HEADER.FIELDS and HEADER.FIELDS.NOT
	Peek   bool     // does not set \Seen
	Legacy string   // "RFC822", "RFC822.HEADER", "RFC822.TEXT": the client's old name for this section

	HasPartial    bool
	Offset, Count int64 // <offset.count>
}
