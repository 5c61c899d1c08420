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
// # Beside it
//
// Package route/dns asks the DNS. Package route/tlspolicy finds what a domain says of TLS to its hosts: DANE and MTA-STS.
//
// # Goroutines
//
// A plan starts one for each host whose addresses are wanted, and waits for them. Everything else runs in the caller's.
package route
