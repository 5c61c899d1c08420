// Package smtpd is the SMTP side of a node: it takes mail from strangers (port 25), from users who log in (587, 465) and from local
// programs (LMTP), and hands each message to the replicated store.
//
// # Data flow
//
//	client ─ bytes ─► wire ─ command lines ─► go-smtp ─ Mail/Rcpt/Auth/Data ─► session
//	                   └──── the body ────────────────────────────────────────► session ─► trace + body ─► Store.NewBody (streamed to the voters)
//	                                                                                              └─────► mime Summarizer
//	                                                                            session ─ one AddMessage command ─► Store ─► 250
//
// A message is answered with 250 only after Store.AddMessage returned: by then the command is committed on a majority and applied here, and
// the body is durable on a majority (conditions B1 and B2). One command names every local recipient, so that either all of them have the
// message or none. Nothing is kept on this node beside it.
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
