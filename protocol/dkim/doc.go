// Package dkim signs messages (RFC 6376, RFC 8463) and says what must stand in the DNS for others to verify that.
//
// # Data flow
//
//	keys of the sender's domain ─┐
//	the message, as it is sent ──┴─► Signer.Sign ─► DKIM-Signature fields, to be put on top of it
//	a key ─► Key.Record ─► the TXT record of its public half
//
// The message must be signed in the form in which it leaves: after fields were added and content was converted. Our own Return-Path field at
// its top, which is dropped before sending, is passed over. Trace fields (Received and the like) are never signed, for every server adds some.
//
// The body is read once for all keys, and memory is bounded: the header is held (MaxHeaderBytes), the body is not. Nothing here is durable;
// keys are bytes that the caller keeps, encrypted.
//
// # What is signed, and why
//
//   - relaxed/relaxed: servers on the way fold fields and trim lines.
//   - No l= (RFC 6376 §8.2: text could be added below) and no x=: mail may wait for days on its way, and a key is revoked in the DNS.
//   - Fields that change what a reader sees or where his answer goes are listed once more than they are there, so that a second one cannot be
//     added (RFC 6376 §8.15): see overSigned.
//   - An rsa-2048 and an ed25519 signature side by side: some verifiers know only the first, and pass over the second.
//
// # The library
//
// Canonical forms, hashes and signatures are those of github.com/emersion/go-msgauth. It is small, complete for what is used here, and quiet: a
// few changes in a year, the last release, v0.7.0, in April 2025. It has three properties that this package stands in front of. It holds
// the whole header, and all blank lines that follow each other, in memory: both are bounded here. It does not fold h=: its length is
// bounded here. It takes the time of the signature (t=) from the clock itself.
//
// # Goroutines
//
// The library starts one for each key and message; all end before Sign returns.
package dkim
