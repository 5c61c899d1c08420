// Package imapd serves IMAP sessions (RFC 9051, RFC 3501 and extensions) on this node's copy of the mail.
//
// Data flow: a connection is read by an imap.Reader; each command goes through the table of commands.go to its own file. Commands that
// read look at a snapshot (View) of the node's own state, after a read barrier where a client must see what any node has acknowledged:
// SELECT, EXAMINE, STATUS, NOOP and the login. Commands that write become one replicated command, or several where STORE,
// EXPUNGE, MOVE or DELETE is about more than replica.PartMessages; the tagged OK leaves when they are committed, durable on a majority of
// the nodes, and applied here. Where a later one fails, the NO says for how many messages it was done, and those stay done. COPY is always
// one command, all or nothing, of at most replica.MaxCopies messages. Messages are streamed from APPEND into a body and from a body into
// FETCH; a session never holds a whole one.
//
// What the client knows of its selected mailbox is in selected: the UID of each sequence number and the mod-sequences up to which it was
// told. updates.go brings the client up to date at the points that RFC 9051 §5.5 and §7 allow, from View.ChangesSince; in IDLE a Watch
// says when.
//
// Every message has a mod-sequence, that of the last command that changed it (RFC 7162, CONDSTORE). The test of UNCHANGEDSINCE is made where
// the replicated command is applied, message by message, so that of two clients at different nodes one alone passes it.
//
// A name is refused (no such mailbox, exists already) only behind a read barrier, because another node may have acknowledged it before this
// one learned of it. Which messages are \Recent is kept in memory by each node for itself: recent.go and ops/adr/0020.
//
// A client that has not logged in can hold little memory and a connection not for long. At a node that is cut off from the others every
// command that needs them is answered NO [UNAVAILABLE] at once, one that is under way when that happens within a few seconds; what needs
// this node alone (FETCH, SEARCH, flags already known) goes on.
//
// Goroutines: one for each connection, started and waited for by Serve; IDLE adds one that waits for the client's line, which ends with
// IDLE.
package imapd
