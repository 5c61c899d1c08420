package store

// Flags are the system flags of a message in a mailbox, one bit each (RFC 9051 §2.3.2). Keywords are kept beside them as strings.
type Flags uint32

// The system flags. Their values are part of the commands' and the disk's format.
const (
	// FlagSeen: the message was read.
	FlagSeen Flags = 1 << iota
	// FlagAnswered: it was answered.
	FlagAnswered
	// FlagFlagged: it wants attention.
	FlagFlagged
	// FlagDeleted: EXPUNGE will remove it.
	FlagDeleted
	// FlagDraft: it is being composed.
	FlagDraft
)

// AllFlags are all the flags that exist; other bits are refused.
const AllFlags = FlagSeen | FlagAnswered | FlagFlagged | FlagDeleted | FlagDraft

// Limits on keywords.
const (
	// MaxKeywords is how many keywords one message may have in one mailbox.
	MaxKeywords = 64
	// MaxKeywordBytes is the longest keyword.
	MaxKeywordBytes = 100
)

// Has tells whether all flags of f are set.
func (s Flags) Has(f Flags) bool { return s&f == f }
