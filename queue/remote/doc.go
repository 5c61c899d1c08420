// Package remote hands one message to another mail server by SMTP, and says precisely what became of each recipient.
//
// # Data flow
//
//	Route (hosts, policy, login) ─┐
//	Message (envelope, Open) ─────┼─► Deliver ─► host by host: a kept or a new session ─► transactions ─► one Result per recipient
//	Recipients ───────────────────┘      └─► content: read once for size, 8-bit bytes, long lines ─► as it is, or converted
//
// A session is a TCP connection past its greeting, EHLO, STARTTLS, EHLO again, and login. A transaction is MAIL, RCPT for as many recipients as
// the server takes at once, and DATA or one BDAT. Each reply is noted, and the notes are judged when the envelope is through: 5xx is final for
// whom it concerns, 4xx defers, and what concerns the server as a whole (no connection, 421, a refused greeting or MAIL, TLS that the
// policy demands and the server has not) sends those without a verdict on to the next address and the next host.
//
// Nothing is durable here. Who calls has written down that the attempt begins, and writes down the results.
//
// # Once
//
// A recipient is part of at most one transaction whose message was sent to its end, unless that was refused. Where the end was sent and no
// reply came, the Result is Deferred and Unknown, and no other host is asked within the attempt. Where sending the end failed, its last bytes
// did not leave this machine, the server cannot have the whole, and the next host is asked.
//
// # What is sent
//
// The stored bytes, without the Return-Path that begins them, behind Message.Prefix. Dots are doubled for DATA. No line end but CRLF is ever
// sent: a message with another one is refused before MAIL. A server without 8BITMIME gets bodies in quoted-printable or base64, made while
// they stream (downgrade.go), and the result is signed anew (Message.Sign). What is within multipart/signed is never touched;
// a message that cannot be converted fails with 5.6.3.
//
// # Connections
//
// A session past its last transaction is kept for some seconds. It serves the next message under the same Route.Key for a host of the same name,
// one of whose addresses it has, under the same policy and login; VerifyPeer judges it anew. Routes to mail exchangers have no key, so that one
// connection does for all domains of a large provider.
//
// # Limits
//
// Memory per Deliver: 64 KiB of the message, the buffers of one connection, 64 KiB more for each header while a message is converted. Replies
// are bounded in lines and bytes; each step of a session has a time (RFC 5321 §4.5.3.2) for its whole reply, each write one of its own.
//
// # Goroutines
//
// Deliver runs in its caller's. For each kept connection a timer waits; what it starts parts from the server, and Close waits for it.
//
// DESIGN.md says why this is not go-smtp's client.
package remote
