package imap

import "time"

// SearchOp is the sort of a search key.
type SearchOp uint8

// Search keys (RFC 9051 §6.4.4 unless noted). The parser reduces the short forms: UNSEEN becomes NOT(Flag \Seen), NEW
// AND(Flag \Recent, NOT Flag \Seen), OLD NOT(Flag \Recent), FROM x Header("From", x).
const (
	SearchAll        SearchOp = iota // every message
	SearchAnd                        // Keys
	SearchOr                         // Keys, two
	SearchNot                        // Keys, one
	SearchFlag                       // Flag: a system flag, \Recent or a keyword
	SearchHeader                     // Header, Text; empty Text: the field is present
	SearchBody                       // Text in the body
	SearchText                       // Text in header or body
	SearchBefore                     // internal date before Date
	SearchOn                         // internal date on Date
	SearchSince                      // internal date on Date or later
	SearchSentBefore                 // Date header, time and zone disregarded
	SearchSentOn
	SearchSentSince
	SearchLarger     // more than Number bytes
	SearchSmaller    // fewer than Number bytes
	SearchSeqSet     // Set of sequence numbers
	SearchUIDSet     // Set of UIDs
	SearchModSeq     // mod-sequence is Number or more (RFC 7162 §3.1.5)
	SearchOlder      // internal date more than Number seconds ago (RFC 5032)
	SearchYounger    // internal date within the last Number seconds (RFC 5032)
	SearchEmailID    // Text (RFC 8474)
	SearchThreadID   // Text (RFC 8474)
	SearchSaveBefore // save date (RFC 8514)
	SearchSaveOn
	SearchSaveSince
	SearchSaveDateSupported
)

// SearchKey is a node of a search expression. Which fields count depends on Op.
type SearchKey struct {
	Op     SearchOp
	Keys   []SearchKey
	Flag   Flag
	Header string    // field name as the client spelled it
	Text   string    // UTF-8
	Date   time.Time // midnight UTC of the day meant
	Number uint64
	Set    NumSet
}
