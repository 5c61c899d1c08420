// Package imapd serves IMAP sessions (RFC 9051, RFC 3501 and extensions) on this node's copy of the mail.
//
// Data flow: a connection is read by an imap.Reader; each command goes through the table of commands.go to its own file. Commands that
// read look at a snapshot (View) of the node's own state, after a read barrier where a client must see what any node has acknowledged:
// SELECT, EXAMINE, STATUS, NOOP and the login. Commands that write become one replicated command; the tagged OK leaves when it is
// committed, durable on a majority of the nodes, and applied here. Messages are streamed from APPEND into a body and from a body into
// FETCH; a session never holds a whole one.
//
// What the client knows of its selected mailbox is in selected: the UID of each sequence number and the mod-sequences up to which it was
// told. updates.go brings the client up to date at the points that RFC 9051 §5.5 and §7 allow, from View.ChangesSince; in IDLE a Watch
// says when.
//
// Goroutines: one for each connection, started and waited for by Serve; IDLE adds one that waits for the client's line, which ends with
// IDLE.
package imapd
