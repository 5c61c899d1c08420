package admin

import "time"

// QueueCounts are how many entries wait in each queue; held ones are counted in their queue, too.
type QueueCounts struct {
	In     uint64 `json:"in"`
	Local  uint64 `json:"local"`
	Remote uint64 `json:"remote"`
	Held   uint64 `json:"held"`
}

// QueueFilter chooses entries of the queues: those that all of it applies to. The zero value chooses all.
type QueueFilter struct {
	IDs         []string `json:"ids,omitempty"`           // queue ids
	Queue       string   `json:"queue,omitempty"`         // in, local, remote
	Sender      string   `json:"sender,omitempty"`        // an address, "*" stands for any run of characters; "<>" for none
	Recipient   string   `json:"recipient,omitempty"`     // the same
	Domain      string   `json:"domain,omitempty"`        // of the recipient
	OlderThanMs int64    `json:"older_than_ms,omitempty"` // since the message was accepted
	Reason      string   `json:"reason,omitempty"`        // a part of what the last attempt met, without regard to case and diacritics
	Held        bool     `json:"held,omitempty"`          // only those that are held
	Owner       string   `json:"owner,omitempty"`         // name or id of the node that works on them
}

// QueuePlace is where the next request of a series goes on: at this entry or, if it is gone, at the one behind it. The zero value is the beginning.
type QueuePlace struct {
	Message uint64 `json:"message"`
	Number  uint32 `json:"number"`
}

// QueueListRequest asks for entries (method "queue.list"). An answer may hold fewer than there are, and none: ask on until it names no next place.
type QueueListRequest struct {
	Filter QueueFilter `json:"filter"`
	From   QueuePlace  `json:"from"`
	Limit  int         `json:"limit"` // 0: as many as the node likes
}

// QueueList is a piece of the list.
type QueueList struct {
	Queues  QueueCounts  `json:"queues"` // of all entries, not only of those that were asked for
	Entries []QueueEntry `json:"entries"`
	Next    *QueuePlace  `json:"next,omitempty"` // nil at the end
}

// QueueEntry is one recipient that a message waits for.
type QueueEntry struct {
	QueueID   string    `json:"queue_id"`
	Message   uint64    `json:"message"`
	Number    uint32    `json:"number"` // within the message
	Queue     string    `json:"queue"`
	Sender    string    `json:"sender"` // "": the null sender
	Recipient string    `json:"recipient"`
	Original  string    `json:"original,omitempty"` // the address that led to it, if that was another
	Bytes     int64     `json:"bytes"`
	Since     time.Time `json:"since"`
	Attempts  uint32    `json:"attempts"`
	Trying    bool      `json:"trying,omitempty"`  // an attempt is under way
	Held      bool      `json:"held,omitempty"`    // until somebody releases it
	Notice    string    `json:"notice,omitempty"`  // it waits for the sender to be told this: failed, delivered, relayed, expanded; delayed goes on besides
	Warned    bool      `json:"warned,omitempty"`  // the sender was told of the delay
	Next      time.Time `json:"next"`              // not before
	Owner     string    `json:"owner"`             // name of the node that works on it
	OwnerID   string    `json:"owner_id"`          //
	Last      time.Time `json:"last,omitzero"`     // when the last attempt began or ended
	Code      uint32    `json:"code,omitempty"`    // what it was answered
	Status    string    `json:"status,omitempty"`  // RFC 3463
	Reason    string    `json:"reason,omitempty"`  //
	Peer      string    `json:"peer,omitempty"`    // who said so
	Account   string    `json:"account,omitempty"` // whose mailbox it waits for
}

// QueueMessage is a message that waits, with all whom it waits for.
type QueueMessage struct {
	QueueID    string       `json:"queue_id"`
	MessageID  string       `json:"message_id"`
	Sender     string       `json:"sender"`
	Received   time.Time    `json:"received"`
	Bytes      int64        `json:"bytes"`
	Account    string       `json:"account,omitempty"` // who submitted it
	Client     string       `json:"client,omitempty"`
	Helo       string       `json:"helo,omitempty"`
	Ret        string       `json:"ret,omitempty"` // RFC 3461
	EnvID      string       `json:"envid,omitempty"`
	UTF8       bool         `json:"utf8,omitempty"`
	RequireTLS bool         `json:"require_tls,omitempty"`
	EightBit   bool         `json:"eight_bit,omitempty"`
	Binary     bool         `json:"binary,omitempty"`
	Entries    []QueueEntry `json:"entries"`
}

// QueueShowRequest asks for all that is known of a queue id (method "queue.show").
type QueueShowRequest struct {
	ID string `json:"id"`
}

// QueueShow is what waits under a queue id, which may be nothing any more, and what became of it so far.
type QueueShow struct {
	Messages []QueueMessage `json:"messages"`
	Trace    *Trace         `json:"trace,omitempty"`
}

// QueueCountRequest asks how much an action would be about (method "queue.count"), in pieces like QueueListRequest.
type QueueCountRequest struct {
	Filter QueueFilter `json:"filter"`
	From   QueuePlace  `json:"from"`
}

// QueueCount is a piece of the count.
type QueueCount struct {
	Entries  int         `json:"entries"`
	Messages int         `json:"messages"`
	First    uint64      `json:"first"` // the first and the last message of the piece; a piece may begin within the last message of the one before
	Last     uint64      `json:"last"`
	Next     *QueuePlace `json:"next,omitempty"`
}

// QueueActRequest does something with entries (method "queue.act"), in pieces like QueueListRequest.
type QueueActRequest struct {
	Filter QueueFilter `json:"filter"`
	From   QueuePlace  `json:"from"`
	UpTo   uint64      `json:"up_to"`            // the last message that it is about, so that what comes in meanwhile is left alone
	Action string      `json:"action"`           // retry, hold, release, bounce, delete
	Reason string      `json:"reason,omitempty"` //
	Who    string      `json:"who"`              // does it
}

// QueueActed is what a piece of an action did.
type QueueActed struct {
	Done    int         `json:"done"`
	Gone    int         `json:"gone,omitempty"`    // were not there any more
	Skipped int         `json:"skipped,omitempty"` // the action makes no sense for these
	Next    *QueuePlace `json:"next,omitempty"`
}
