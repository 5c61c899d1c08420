package admin

import "time"

// TraceRequest asks what became of messages (method "trace").
type TraceRequest struct {
	What  string `json:"what"`  // a queue id, a Message-ID, or an address
	Limit int    `json:"limit"` // of an address's messages, at most so many of the newest; 0: 20
	Last  int    `json:"last"`  // of a message's events, only so many of the last; 0: all
}

// Trace is the story of one message.
type Trace struct {
	QueueID string       `json:"queue_id"`
	Events  []TraceEvent `json:"events"`            // in their order
	Omitted int          `json:"omitted,omitempty"` // events before these
}

// TraceEvent is one thing that happened to a message.
type TraceEvent struct {
	Time       time.Time    `json:"time"`
	Node       string       `json:"node"`              // name
	Kind       string       `json:"kind"`              // accepted, delivered, queued, deferred, failed, routed, held, released, retried, bounced, deleted, noticed, handed, resent
	Address    string       `json:"address,omitempty"` // the recipient that it is about
	Text       string       `json:"text,omitempty"`
	Peer       string       `json:"peer,omitempty"` // who answered
	Code       uint32       `json:"code,omitempty"` // what
	Attempt    uint32       `json:"attempt,omitempty"`
	Related    string       `json:"related,omitempty"` // queue id of a notice, or of the first time that a message was sent
	Sender     *string      `json:"sender,omitempty"`  // accepted: "" for the null sender
	Bytes      int64        `json:"bytes,omitempty"`
	Client     string       `json:"client,omitempty"`
	Helo       string       `json:"helo,omitempty"`
	TLS        string       `json:"tls,omitempty"`
	Account    string       `json:"account,omitempty"` // who submitted it
	Listener   string       `json:"listener,omitempty"`
	MessageID  string       `json:"message_id,omitempty"`
	Recipients []string     `json:"recipients,omitempty"`
	Checks     string       `json:"checks,omitempty"`
	Placed     []TracePlace `json:"placed,omitempty"`
	Queued     []string     `json:"queued,omitempty"` // "remote: somebody@example.org"
}

// TracePlace is a mailbox that a message came into, or would not.
type TracePlace struct {
	Account string `json:"account"` // address
	Mailbox string `json:"mailbox"` // name
	UID     uint32 `json:"uid,omitempty"`
	Error   string `json:"error,omitempty"` // why not
}
