package imap

import (
	"io"
	"time"
)

// Command is one command of a client (RFC 9051 §6), fully read but for the messages of APPEND.
type Command struct {
	Tag  string
	Name string // upper case without the UID prefix: "FETCH"
	UID  bool   // the command was "UID FETCH" and so on: message sets are UID sets

	// Args is a pointer to the arguments' type of the command (*LoginArgs, *FetchArgs, …), nil for
	// commands without arguments: CAPABILITY, NOOP, LOGOUT, STARTTLS, CHECK, CLOSE, UNSELECT, EXPUNGE, IDLE, NAMESPACE,
	// UNAUTHENTICATE.
	Args any
}

// AuthenticateArgs are the arguments of AUTHENTICATE (RFC 9051 §6.2.2, RFC 4959).
type AuthenticateArgs struct {
	Mechanism  string // upper case
	Initial    []byte // decoded initial response
	HasInitial bool
}

// LoginArgs are the arguments of LOGIN (RFC 9051 §6.2.3).
type LoginArgs struct{ Username, Password string }

// EnableArgs are the arguments of ENABLE (RFC 9051 §6.3.1), upper case.
type EnableArgs struct{ Capabilities []string }

// IDArgs are the arguments of ID (RFC 2971); Fields is nil for NIL. Keys are lower case.
type IDArgs struct{ Fields map[string]string }

// SelectArgs are the arguments of SELECT and EXAMINE (RFC 9051 §6.3.2, RFC 7162 §3.1.8 and §3.2.5).
type SelectArgs struct {
	Mailbox   string
	CondStore bool
	QResync   *QResync
}

// QResync is the QRESYNC parameter of SELECT (RFC 7162 §3.2.5).
type QResync struct {
	UIDValidity          uint32
	ModSeq               uint64
	Known                NumSet
	MatchSeqs, MatchUIDs NumSet
}

// MailboxArgs are the arguments of DELETE, SUBSCRIBE, UNSUBSCRIBE and GETQUOTAROOT.
type MailboxArgs struct{ Mailbox string }

// CreateArgs are the arguments of CREATE (RFC 9051 §6.3.4, RFC 6154 §3).
type CreateArgs struct {
	Mailbox    string
	SpecialUse []MailboxAttr
}

// RenameArgs are the arguments of RENAME (RFC 9051 §6.3.6).
type RenameArgs struct{ From, To string }

// ListArgs are the arguments of LIST and LSUB (RFC 9051 §6.3.9, RFC 5258, RFC 5819, RFC 6154).
type ListArgs struct {
	Reference string
	Patterns  []string
	Extended  bool // selection options, return options or several patterns were given

	SelectSubscribed, SelectRemote, SelectRecursiveMatch, SelectSpecialUse bool
	ReturnSubscribed, ReturnChildren, ReturnSpecialUse                     bool
	ReturnStatus                                                           []StatusItem // nil: none asked
}

// StatusArgs are the arguments of STATUS (RFC 9051 §6.3.11).
type StatusArgs struct {
	Mailbox string
	Items   []StatusItem
}

// AppendArgs are the arguments of APPEND; its messages come from Reader.NextAppend (RFC 9051 §6.3.12, RFC 3502).
type AppendArgs struct{ Mailbox string }

// AppendMessage is one message of an APPEND.
type AppendMessage struct {
	Flags []Flag
	Date  time.Time // zero when the client gave none
	UTF8  bool      // sent as UTF8 (~{n}) (RFC 6855 §4)
	Size  int64     // bytes, exactly what Body yields

	// Body streams the message; its first Read sends the continuation when the literal needs one. A body
	// that is not read to its end is refused: what the client sends of it is drained by the next call of the Reader.
	Body io.Reader
}

// SearchArgs are the arguments of SEARCH (RFC 9051 §6.4.4, RFC 4731, RFC 5182). Strings in Key are UTF-8.
type SearchArgs struct {
	Key      SearchKey
	Return   []SearchReturn // nil: answer with "* SEARCH"
	Extended bool           // a RETURN clause was given, even an empty one
	Charset  string         // upper case, "" when none was given
}

// SearchReturn is a RETURN option of SEARCH.
type SearchReturn string

// RETURN options of SEARCH (RFC 9051 §6.4.4).
const (
	ReturnMin   SearchReturn = "MIN"
	ReturnMax   SearchReturn = "MAX"
	ReturnAll   SearchReturn = "ALL"
	ReturnCount SearchReturn = "COUNT"
	ReturnSave  SearchReturn = "SAVE"
)

// FetchArgs are the arguments of FETCH (RFC 9051 §6.4.5, RFC 7162 §3.1.4 and §3.2.6). Macros are expanded.
type FetchArgs struct {
	Set                       NumSet
	Items                     []FetchItem
	ChangedSince              uint64 // 0: not given
	HasChangedSince, Vanished bool
}

// StoreArgs are the arguments of STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3).
type StoreArgs struct {
	Set               NumSet
	Op                StoreOp
	Silent            bool
	Flags             []Flag
	UnchangedSince    uint64
	HasUnchangedSince bool
}

// StoreOp says how STORE combines flags.
type StoreOp uint8

// The three forms of STORE.
const (
	StoreReplace StoreOp = iota // FLAGS
	StoreAdd                    // +FLAGS
	StoreRemove                 // -FLAGS
)

// CopyArgs are the arguments of COPY and MOVE (RFC 9051 §6.4.7 and §6.4.8).
type CopyArgs struct {
	Set     NumSet
	Mailbox string
}

// ExpungeArgs are the arguments of UID EXPUNGE (RFC 9051 §6.4.9); plain EXPUNGE has none.
type ExpungeArgs struct{ UIDs NumSet }

// QuotaArgs are the arguments of GETQUOTA (RFC 9208 §4.1.1).
type QuotaArgs struct{ Root string }

// SortArgs are the arguments of SORT (RFC 5256 §3).
type SortArgs struct {
	Criteria []SortCriterion
	Search   SearchArgs
}

// SortCriterion is one sort key with its direction.
type SortCriterion struct {
	Key     SortKey
	Reverse bool
}

// SortKey is what SORT compares (RFC 5256 §3, RFC 5957).
type SortKey string

// Sort keys.
const (
	SortArrival     SortKey = "ARRIVAL"
	SortCc          SortKey = "CC"
	SortDate        SortKey = "DATE"
	SortFrom        SortKey = "FROM"
	SortSize        SortKey = "SIZE"
	SortSubject     SortKey = "SUBJECT"
	SortTo          SortKey = "TO"
	SortDisplayFrom SortKey = "DISPLAYFROM"
	SortDisplayTo   SortKey = "DISPLAYTO"
)

// ThreadArgs are the arguments of THREAD (RFC 5256 §3).
type ThreadArgs struct {
	Algorithm string // upper case: "ORDEREDSUBJECT", "REFERENCES", "REFS"
	Search    SearchArgs
}

// CompressArgs are the arguments of COMPRESS (RFC 4978).
type CompressArgs struct{ Mechanism string }
