// Package mime finds out in one pass what a mail server needs to know of a message: its MIME structure with
// byte offsets (RFC 2045, RFC 2046), its envelope as IMAP tells it, the header fields that clients ask for
// most, and a preview.
//
// Data flow: the raw message is written to a Summarizer while it arrives; the resulting Summary is marshalled into the
// replicated command that accepts the message, so that no node parses it a second time. Any piece of the
// message (BODY[1.2.HEADER]) is then a range of bytes of the raw message: see Structure.Section.
//
// No message is refused: broken ones are read as their sender may have meant them, and in the worst case as text/plain or
// application/octet-stream. Memory is bounded whatever the message holds: see the Max constants.
//
// Wire form of a Summary: see (*Summary).Marshal. Goroutines: none.
package mime
