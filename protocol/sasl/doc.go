// Package sasl says how passwords are carried (RFC 4616 PLAIN), prepared (RFC 8265), kept (Argon2id, RFC 9106; SCRAM-SHA-256, RFC 5802
// and RFC 7677) and checked, and how guessing them is slowed.
//
// Data flow: a client's response is decoded ([DecodePlain]); [Throttle] says whether this address may try this account now;
// [VerifiedCache] answers for a password that was verified minutes ago; else [Hasher] verifies it against the stored form; the outcome goes
// back to the throttle and the cache. Of all this only the stored forms (the strings that [Hasher.Hash], [SCRAM.String] and
// [HashRandom] make) are durable, and where they are kept is the caller's business. The counters of failed logins travel between nodes as
// small batches ([Throttle.Export], [Throttle.Import]) and are never written.
//
// [SCRAMExchange] is the server's side of SCRAM-SHA-256 and -PLUS. It knows neither users nor sessions: the caller says what a user's keys were made
// with, and decides with them in hand.
//
// [Logins] knows the sessions that a login opened, and ends them when it is good no longer.
//
// There are no goroutines here. The Hasher, the cache, the throttle and Logins may be used by many at once; each is bounded in memory, Logins by
// the number of sessions.
//
// Stored forms, told apart by their beginning:
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>            PHC string format, base64 without padding
//	SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>  RFC 5803 §3's authInfo with its scheme, base64 with padding
//	$sha256$<salt>$<hash>                                    for passwords that this program made, see HashRandom
package sasl
