// Package queue works on the messages that wait: it decides who is tried when, who is told, and which node does it.
//
// # Data flow
//
//	accepted with a reason to wait ─► QueueEntry of the accepting node (durable with the message) ─► Manager.Queued ─► line
//	due in the store ─► look ─► line: by sender, then by destination, bounded
//	line ─► job ─┬ remote: attempt written ─► Sender ─► outcome written: ended, due later, or waiting for a notice
//	             ├ local:  placed in the mailbox and ended in one command
//	             ├ in:     Judge, then routed: mailboxes and entries instead of it, in one command
//	             └ notice: written, addressed and taken as a message that ends the entries which it is about, in one command
//
// Every arrow that changes something is a command, durable on a majority before the next step. An attempt is written before it begins, so that
// after a crash it is known which recipients may have been served without a record of it: those are tried once more, and no others. So a
// recipient gets at most one more copy for each crash that falls into its attempt, with the same queue id and Message-ID.
//
// # Owners
//
// An entry belongs to one node, at first that which took the message. When a node cannot work for some seconds, or leaves, the leader, or the
// leaving node itself, gives its entries to the others under a new epoch each; what the former owner says later is refused by its epoch,
// but for "delivered", which is true whoever says it.
//
// # Destinations
//
// A destination is what the Sender says that a domain's mail is handed to: a smarthost for all domains that are routed through it, else the domain.
// Back-off, the limit of jobs and transactions go by it. The routes may change at any time; they are asked when an entry comes into line and
// when its turn comes.
//
// # What is pure
//
// Wait (when is the next attempt), decide (what follows from an outcome) and lineup (whose turn is it) know no clock, no store and no network.
//
// # Files
//
// manager.go is the loop, look.go finds what is due, lineup.go and destination.go say whose turn it is, work.go begins and ends jobs. Of the jobs
// deliver.go, place.go, judge.go with rewrite.go, and notify.go do one each. decide.go and retry.go are the policy, batch.go writes,
// handover.go moves entries to other nodes, accounts.go hurries what an account's change let go. sender.go, protect.go, tlsrequired.go and notices.go join the packages remote,
// route and dsn to it. DESIGN.md says why.
//
// # Goroutines
//
// Run starts the loop that owns the line, a few writers that make one command of many attempts or outcomes, the leader's look at the
// other nodes, and one for each job, up to Config.Jobs. They end before Run returns: what is under way when its context ends has
// Config.Finish to be written.
package queue
