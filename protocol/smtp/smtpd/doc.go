// Package smtpd is the SMTP side of a node: it takes mail from strangers (port 25), from users who log in (587, 465) and from local
// programs (LMTP), and hands each message to the replicated store.
//
// # Data flow
//
//	client ─ bytes ─► wire ─ command lines ─► go-smtp ─ Mail/Rcpt/Auth/Data ─► session
//	                   └──── the body ────────────────────────────────────────► session ─► head, line ends, Checks ─► trace + body ─► Store.NewBody
//	                                                                                               (spool, if they read it)        └─► mime Summarizer
//	                                                                            session ─ one AddMessage command ─► Store ─► 250
//
// A message is answered with 250 only after Store.AddMessage returned: by then the command is committed on a majority and applied here, and
// the body is durable on a majority (conditions B1 and B2). One command names every recipient: mailboxes that get the message at once (targets),
// and entries of the queues for those for whom it waits, so that either all of them are provided for or none. Nothing is kept on this node
// beside it; a spool is a file without a name, and gone with the process.
//
// Who waits, and where: an address elsewhere, to which an alias leads or a user or a trusted network sends, in "remote"; a suspended account in
// "local"; everybody in "in", when the Checks did not answer in time or hold the message. An entry beside a mailbox makes the queue tell the sender of
// the delivery, where NOTIFY asked for that.
//
// A client that did not hear the 250 sends the message again. The command carries a digest of what it sent, by which the store recognises that and
// answers with the queue id of the first time.
//
// A login holds until it is revoked: when the account's password changes, or the account is suspended or removed, EndSessions says 421 before
// the next command. A login that was being checked meanwhile is checked again.
//
// # What stands between the client and the library
//
// go-smtp's server reads the connection through a wire, which sees each line first. The wire owns what the library cannot do safely:
//
//   - the end of a body: DATA is decoded by this package, which ends a message at CRLF.CRLF alone, and the library never sees a byte of it,
//     so that no body byte can become a command (RFC 5321 §4.1.1.4; "SMTP smuggling");
//   - deadlines: one per read and one per message, not one per command; after any failure within a body the connection is closed;
//   - paths: the library drops the quotes of a local part, which makes "x@evil"@b.c ambiguous; the session judges what the client wrote;
//   - verbs: what is no command is answered here, and so is what depends on the session (VRFY);
//   - BODY=BINARYMIME: the library sees 8BITMIME; such a message comes by BDAT alone, and its binary parts become base64 (binary.go);
//   - what EHLO says of sizes, numbers and TLS (corrections.go);
//   - STARTTLS: bytes that the client sent before the handshake are refused, not carried over (RFC 3207 §6);
//   - reply codes that are not those of the RFCs are corrected on their way out (corrections.go);
//   - replies: they are written in one piece for pipelined commands, counted, and ended by 421 when there were too many errors.
//
// DESIGN.md says more about this.
//
// # Goroutines
//
// Serve starts one for each connection (greeting and TLS handshake) and the library one or two more; all end before Serve returns.
package smtpd
