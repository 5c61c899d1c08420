// Package tlspolicy finds what a domain says of TLS to its mail servers: by DANE (RFC 7672), by MTA-STS (RFC 8461).
//
// # DANE
//
//	host of a plan, authentic ─► TLSA records ─► VerifyDANE(what the host showed)
//
// [TLSARecords] finds what the DNS says of a host's certificate, if the way there was authentic from the domain on, and [VerifyDANE] compares.
// Whoever connects decides what follows: a host without answer about its records, and one that does not match, gets no mail.
//
// # MTA-STS
//
//	domain ─► kept policy ─► TXT record: the same ID? ─┬─ yes ─► the kept one
//	                                                   └─ no ──► file by HTTPS ─► kept (durable) ─► the new one
//
// An [STS] keeps policies in a [Store] that the caller gives it, since a policy protects only if it outlasts the attacker's first day. What
// was kept holds until it expires, whether the DNS and the web answer or not. [STS.Tend], on one node, fetches policies again before they
// expire as long as mail is written to their domains, and forgets others; mail fetches them itself only if nobody does that. How many are
// kept is bounded, and the many subdomains of one owner push out none but each other.
//
// # Goroutines
//
// The fetch of a policy has those of net/http, which end with its connection; Tend starts one for each of the few that it fetches at once, and
// waits for them. Everything else runs in the caller's.
package tlspolicy
