// Package imap reads the commands and writes the responses of IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051).
//
// Data flow: bytes of a client enter a Reader, which cuts them into whole commands (lines with the literals
// that belong to them) before anything is interpreted, and parses each into a Command with typed arguments. What a
// session decides goes out through a Writer, which chooses the encoding of every string. Nothing here is durable, and
// nothing here knows of mailboxes, clocks or networks: deadlines belong to the owner of the connection.
//
// The stream never gets out of step. The octets of a literal are consumed as a literal whatever the
// fate of their command, so the text of a message cannot run as a command; where that is not
// possible (a literal beyond all limits that the client sends without waiting) the Reader fails with
// FatalError and stays failed.
//
// The messages of APPEND are not held in memory: Reader.NextAppend hands each out as an io.Reader.
//
// Goroutines: none. A Reader and a Writer may be used by two goroutines at the same time, each of them by one.
package imap
