// Package cluster lets nodes find each other and agree on one order of opaque commands. It knows no mail.
//
// Data flow: Propose hands a command to whoever leads and hands it over again after each change of leader; Raft writes it to the log
// of a majority (durable) and gives it to each node's Machine in the same order. A command may stand in the log more than once: the
// Machine tells repeats apart. ReadBarrier lets a reader wait for everything that was committed before it asked.
//
// Goroutines: Raft's own, the port's, one that follows leadership, and on the leader one that promotes caught-up members. Open
// starts them, Close ends them.
//
// Disk: <data>/raft holds the log, term and vote; the Machine keeps its own state, which is Raft's snapshot.
package cluster
