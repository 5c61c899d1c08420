// Package replica lets this node read and write its copy of the mail: propose, wait, answer, watch. It knows no Raft: Log and Peers are
// what it asks of the cluster.
//
// # Data flow
//
//	Propose   command ─► Log.Propose, the same bytes again while the outcome is unknown ─► committed: durable in the log of a majority
//	          ─► state.Machine applies it on this node ─► the waiter gets the result, so a session sees its own write (B2)
//	Upload    raw bytes ─► blob.Encoder (memory, then an unnamed file: nothing durable)
//	          ─► up to 16 KiB encoded: inline in the command, durable with it
//	          ─► longer: to the stores of all members at once, each durable when it acknowledges; Finish returns when a majority of the voters has (B1)
//	split     STORE, EXPUNGE, MOVE of many messages ─► several commands of at most PartMessages each, since an applied one holds up all
//	          others; a mailbox or account of very many is emptied so before it is removed
//	OpenBody  this node's store ─► or else a holder's, checked by digest before a byte is given out (B3, B9)
//	repair    missing or lost bodies ─► fetched from a holder, no faster than its clients bear ─► fsync ─► a `have` command: durable before the cluster counts on it
//	reconcile this node's bodies against the state, side by side: what is absent is declared lost and fetched, what is unknown and old deleted
//	collect   `sweep` applied ─► local copies deleted; uploads that no command ever named are deleted two upload epochs later (B7)
//
// A command has an id, (incarnation, sequence), and carries the lowest sequence of its incarnation that is still outstanding. The state
// executes an id once, whatever stands in the log, and none below the lowest. So after an unknown outcome the same bytes are proposed
// again, and never a new command; only a definite rejection lets AddMessage try anew, under new ids of command and body (B6).
//
// # Errors
//
// store.ErrUnavailable: nothing happened. store.ErrUnknownOutcome: it may have happened, and may still happen. Everything else is the
// command's answer.
//
// # Goroutines
//
// Run starts and awaits the background loops: readiness, registration, repair, the leader's clock, collection, scrub, compaction. Propose
// has one goroutine while a command is under way, which ends soon after the call; Finish one for each member, which end at its failure or
// at most Intervals.Abandon after its success. Handlers of streams run in the goroutines of Peers. Close awaits those of Propose and
// Finish.
//
// # Wire
//
// Two kinds of streams between nodes, integers big-endian, many bodies one after the other on each:
//
//	replica/put:  id[40] epoch:64 length:64 container ─► status:8 dataIncarnation[16]
//	replica/get:  id[40] ─► status:8 length:64 container trailer:8
//
// and the calls replica/clock (ticks:64 ─► known:8 elapsedMs:64) and replica/missing (─► count:64 id[40]*, the first of so many).
package replica
