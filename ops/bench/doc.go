// Package bench measures a running mail server from outside: it sends messages by SMTP at some nodes, waits until each is visible by
// IMAP at others, and reports rates, latencies, and what the nodes spent on it. A server of another kind is measured in the same way.
//
// Data flow: each client sends one message after the other over one connection; for each account a watcher sits in IDLE at another
// node and counts, and when all is sent asks for what it has not seen. A message is delivered when its 250 has come and the watcher's
// mailbox is as large as what was sent. Bodies are seeded, all distinct, and compress like mail does (zstd ratio 1.3–1.6, at every size
// from 1 KiB on; the result tells ratio and size). RunRemote sends to another site instead, and waits until that has counted all.
//
// What was spent is told by the caller: nodes are asked, of other servers ProcessesSpent reads it in /proc.
//
// Goroutines: one per client and one per account, all ended when Run or RunRemote returns.
package bench
