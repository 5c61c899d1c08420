// Package route answers where mail for a domain goes.
//
// # The router
//
//	domain ─► Table ─┬─ reject ─► Error
//	                 ├─ discard ─► Plan without hosts
//	                 ├─ smarthost ─► addresses ─────────────────────────┐
//	                 └─ MX ─► MX records ─► less this site ─► addresses ┴─► Plan: hosts in order, TLS, credentials
//
// A [Router] makes a [Plan] for a domain. What cannot work is left out and noted in the plan; what leaves nothing is an [*Error] with the
// codes of the bounce. It is permanent only when the DNS said so, never when the DNS was silent, and never for what is wrong with a smarthost,
// which is this site's own affair. Nothing is durable here: a plan is made anew for each attempt, from the cache.
//
// # What a domain says of TLS
//
// An [STS] finds the MTA-STS policy of a domain: TXT record, then a file by HTTPS, kept in a store that the caller gives it, since a policy
// protects only if it outlasts the attacker's first day. What was kept holds until it expires, whether the DNS and the web answer or not.
//
// [TLSARecords] finds what the DNS says of a host's certificate, if the way there was authentic from the domain on, and [VerifyDANE] compares
// (RFC 7672). Whoever connects decides what follows: a host without answer about its records, and one that does not match, gets no mail.
//
// # The resolver
//
//	question ─► hosts file ─► cache ─► one flight per question ─► server after server ─► aliases ─► cache ─► Answer
//
// A [DNS] asks recursive servers, listed in its Config or in resolv.conf, and is the [Resolver] of the whole program. It tells three ways of
// having no answer apart, because they are three fates of a message: the name does not exist, it has no such records, nobody answered. The
// first two are answers, are kept as RFC 2308 says, and may return mail to its sender; the third never does.
//
// It does not check DNSSEC itself: an answer is authentic when a server that the operator named as validating says so.
//
// # Goroutines
//
// A question for both families of addresses starts one, a plan one for each host whose addresses are wanted; both wait for them. The fetch of
// a policy has those of net/http, which end with its connection. Everything else runs in the caller's.
package route
