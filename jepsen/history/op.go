package history

import "time"

// Outcome is what the client knows when an operation ends.
type Outcome string

const (
	OK      Outcome = "ok"      // acknowledged: it happened
	Fail    Outcome = "fail"    // refused, or broken off before it could happen: it did not happen, and never will
	Unknown Outcome = "unknown" // a deadline, a reset, an end of file when it was too late to tell: it may have happened, or happen yet
)

// Kind is what an operation does.
type Kind string

const (
	Deliver  Kind = "deliver"  // SMTP or submission: message ID to the INBOX of Box's account
	Append   Kind = "append"   // IMAP APPEND of message ID to Box; UID is what APPENDUID said
	Store    Kind = "store"    // IMAP UID STORE: Flag is set (Add) or taken from UID in Box
	Expunge  Kind = "expunge"  // IMAP UID STORE \Deleted, which is recorded as a Store, too, and UID EXPUNGE of UID in Box
	Move     Kind = "move"     // IMAP UID MOVE of UID from Box to Dest; DestUID is what COPYUID said
	Read     Kind = "read"     // a whole look at Box, in Mailbox
	Login    Kind = "login"    // a login of Box's account with password Value
	Password Kind = "password" // the administrator changes the password of Box's account to Value
	Delete   Kind = "delete"   // POP3 DELE of message ID; it counts when QUIT of the same Session is acknowledged
	Quit     Kind = "quit"     // POP3 QUIT, which carries out the Session's deletions
	Accept   Kind = "accept"   // SMTP or submission: message ID for the recipient Dest, an address at a remote server; one Op per recipient
	Sink     Kind = "sink"     // that remote server received message ID for Dest, in Invoke (its MAIL) to Return (its answer to the data), from Node
	Notice   Kind = "notice"   // a read of Box at Node showed a notice (RFC 3464), as message UID, that ID did not get to Dest: "" when the notice does not say to whom
)

// Op is one operation of one client.
type Op struct {
	Workload string        `json:"workload"`
	Process  int           `json:"process"` // the client; it does one thing after the other
	Node     string        `json:"node"`    // which the client talked to
	Kind     Kind          `json:"kind"`
	Invoke   time.Duration `json:"invoke"` // before its first byte was sent, and before the connection was made
	Return   time.Duration `json:"return"` // when its outcome was known
	Outcome  Outcome       `json:"outcome"`
	Error    string        `json:"error,omitempty"`   // of what is not OK
	Session  int           `json:"session,omitempty"` // operations of one connection share it; unique in a run

	Box     string   `json:"box,omitempty"` // "account/mailbox", such as "u1@example.test/INBOX"
	ID      string   `json:"id,omitempty"`  // of the message, unique in a run: what its X-Jepsen-Id field says
	UID     uint32   `json:"uid,omitempty"`
	Flag    string   `json:"flag,omitempty"`
	Add     bool     `json:"add,omitempty"`
	Dest    string   `json:"dest,omitempty"`
	DestUID uint32   `json:"dest_uid,omitempty"`
	ModSeq  uint64   `json:"modseq,omitempty"`  // of the changed message, when the server told
	Value   string   `json:"value,omitempty"`   // of Login and Password: the password; of Store: "gone" if the answer did not show the message; of Deliver, Accept and Sink: the queue id, when it was told
	Attempt int      `json:"attempt,omitempty"` // from 1: tries of the same message, one after the other
	Mailbox *Mailbox `json:"mailbox,omitempty"` // what a Read that is OK saw
}

// Mailbox is what a client saw of a mailbox in one read.
type Mailbox struct {
	UIDValidity   uint32    `json:"uidvalidity"`
	UIDNext       uint32    `json:"uidnext"`
	HighestModSeq uint64    `json:"highestmodseq,omitempty"` // 0: the server did not tell
	Final         bool      `json:"final,omitempty"`         // read after all faults were healed and the cluster was quiet
	Messages      []Message `json:"messages"`                // in the order of their sequence numbers, which must be that of their UIDs
}

// Message is one message in a read.
type Message struct {
	UID    uint32   `json:"uid"`
	ID     string   `json:"id"`               // "" when it has no X-Jepsen-Id field
	Flags  []string `json:"flags,omitempty"`  // sorted, in lower case, without \recent
	ModSeq uint64   `json:"modseq,omitempty"` // 0: the server did not tell
}

// Fault is one fault that a nemesis caused.
type Fault struct {
	Name   string        `json:"name"`            // such as "kill leader"
	Nodes  []string      `json:"nodes,omitempty"` // whom it hit
	Start  time.Duration `json:"start"`
	End    time.Duration `json:"end"` // when it was over or healed
	Detail string        `json:"detail,omitempty"`
	Ends   bool          `json:"ends,omitempty"`  // the nodes that it hit may end by themselves, until the next fault
	Error  string        `json:"error,omitempty"` // why it was not caused as planned, or only in part
}

// Note is something else that a reader or a checker should know of a node: its state hash, a line of its log, that it ended.
type Note struct {
	At    time.Duration `json:"at"`
	Node  string        `json:"node,omitempty"`
	Kind  string        `json:"kind"` // "hash", "log", "ended", "info", "corrupt", "unhealed": what should not last does
	Index uint64        `json:"index,omitempty"`
	Text  string        `json:"text"`
}

// Run says how a history was made.
type Run struct {
	Seed     uint64        `json:"seed"`
	Workload []string      `json:"workload"`
	Nemesis  []string      `json:"nemesis"`
	Nodes    int           `json:"nodes"`
	Time     time.Duration `json:"time"`
	Args     []string      `json:"args"`    // of "jepsen run", which repeats it
	Version  string        `json:"version"` // of the program under test
	Began    time.Time     `json:"began"`
}
