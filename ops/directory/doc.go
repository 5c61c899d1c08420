// Package directory answers who may log in and who gets an address's mail, and changes domains, accounts, aliases, groups, settings, rules
// and routes for administrators.
//
// # Data flow
//
// Reads for a login: read barrier (so that a password changed at another node counts here), then this node's copy. A password that was
// right is remembered in memory as a keyed digest for minutes, under the account's credential generation: any change of credentials
// anywhere raises the generation, and the entry is never found again. What was not remembered costs an Argon2, of which a bounded number
// run at once (ConcurrentHashes times auth.argon2_memory is the most memory they take). Resolve reads this node's copy, and asks behind
// a barrier only before it refuses.
//
// A login by SCRAM takes two reads behind a barrier, one for the salt and one for the keys, and no Argon2 (scram.go).
//
// Changes are one command each, durable on a majority and applied on this node when the method returns. Everything that a command says is
// checked here first, for clear errors, and once more, with the truth of that moment, when it is applied. Quotas and the cluster's
// default for them are decided there alone; Room only foretells it.
//
// A suspended account cannot log in, and its mail waits in the queue "local" until it can again, so that nothing is lost while a question is
// settled; the sessions that it has open are ended, as they are when its password is changed (replica.OnRevoked). A suspended domain puts its
// mail off with a temporary error.
//
// Aliases, groups and catch-alls may lead to addresses of other systems, if no route refuses their domains (Config.Elsewhere). Such a target
// gives nobody the right to send as the alias. Which systems these are is a question of the moment: the domain may be added here later.
//
// Rules and routes are kept as package queue/filter and queue/route read them, and are checked by these before anything is proposed. The
// password of a smarthost is sealed (Config.Seal) before it leaves this node, and never shown.
//
// Failed logins are counted in memory only, shared between nodes by FailedLogins and Receive: a stranger must not be able to write to
// the log. They count for the pair of account and address they came from, so that a stranger cannot lock the owner out.
//
// Addresses are compared in one form: lower case, NFC, the domain in Unicode (package smtp).
//
// # Goroutines
//
// None of its own.
package directory
