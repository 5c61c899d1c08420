// Package directory answers who is who: it checks passwords for every protocol, finds the mailboxes behind an address, and changes domains,
// accounts, aliases and groups for administrators.
//
// # Data flow
//
// Reads for a login: read barrier (so that a password changed at another node counts here), then this node's copy. A password that was
// right is remembered in memory as a keyed digest for minutes, under the account's credential generation: any change of credentials
// anywhere raises the generation, and the entry is never found again. What was not remembered costs an Argon2, of which a bounded number
// run at once. Resolve reads this node's copy, and asks behind a barrier only before it refuses.
//
// Changes are one command each, durable on a majority and applied on this node when the method returns. Everything that a command says is
// checked here first, for clear errors, and once more, with the truth of that moment, when it is applied.
//
// Failed logins are counted in memory only, shared between nodes by FailedLogins and Receive: a stranger must not be able to write to
// the log.
//
// # Goroutines
//
// None of its own.
package directory
