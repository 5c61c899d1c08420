// Package dns asks the DNS for what mail needs to know.
//
//	question ─► hosts file ─► cache ─► one flight per question ─► server after server ─► aliases ─► cache ─► Answer
//
// A [Client] asks recursive servers, listed in its Config or in resolv.conf, and is the [Resolver] of the whole program. It tells three ways of
// having no answer apart, because they are three fates of a message: the name does not exist, it has no such records, nobody answered. The
// first two are answers, are kept as RFC 2308 says, and may return mail to its sender; the third never does.
//
// It does not check DNSSEC itself: an answer is authentic when a server that the operator named as validating says so.
//
// # Goroutines
//
// A question for both families of addresses starts one, and waits for it. Everything else runs in the caller's.
package dns
