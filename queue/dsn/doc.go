// Package dsn builds delivery status notifications: the messages that tell a sender what became of his message.
//
// # Data flow
//
//	what the queue knows of a message and its recipients ─► Report ─► Build ─► a whole message, streamed
//	the message itself, read twice ──────────────────────────┘
//
// The caller queues the result with the null sender. Wants tells whether there is anything to tell at all. Nothing here is durable; there is
// no clock (Report.Now) and no randomness (Report.ID): the same Report makes the same bytes.
//
// # What is built
//
// A multipart/report (RFC 6522) of three parts:
//
//  1. text/plain, for people: in Vietnamese and then in English, what happened and what to do, by the class of the status code, with the other
//     server's own words. Vietnamese comes first because it is nearly always one of our own users who reads it: what strangers send us is
//     refused while their own server is connected, and that server tells them. The first lines point to the English half.
//  2. message/delivery-status (RFC 3464), for programs. Addresses that are not ASCII are escaped there (RFC 6533 §3), so that the notice
//     stays in 7 bits; when the sender's own address needs SMTPUTF8 the notice must travel with it anyhow, and the part is
//     message/global-delivery-status in UTF-8.
//  3. The message that it is about, or its header alone: see original.go for when.
//
// What other servers wrote is data: it is cleaned of control characters, cut, and can end neither its line nor its part. The boundary is made
// from a digest of the original, which the original cannot contain.
//
// Goroutines: none.
package dsn
