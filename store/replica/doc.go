// Package replica is how this node reads and writes its copy of the replicated state. It knows no Raft.
//
// Data flow, in: a body streams into an Upload, which compresses it in bounded memory (nothing is durable). Small ones go into the
// command; larger ones are stored here and sent to all voters, and a majority answers after fsync (the body is durable). Propose hands
// the command to the Log and returns when this node has applied it (the command is durable on a majority), so that a session sees
// what it wrote. Out: a View is one moment of the state; ReadBarrier makes sure that it holds what any node acknowledged before.
// A body that is not here is read from a node that has it.
//
// Goroutines: Run starts those that fetch missing bodies, keep the replicated clock, and collect garbage, and waits for them.
package replica
