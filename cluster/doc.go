// Package cluster lets nodes find each other and agree on one order of opaque commands. It knows no mail.
//
// Data flow: Propose hands a command to whoever leads and hands it over again after each change of leader; Raft writes it to the log
// of a majority (durable) and gives it to each node's Machine in the same order. A command may stand in the log more than once: the
// Machine tells repeats apart. The leader answers a proposal with one of three words: committed, certainly not appended, or not known;
// once one attempt ended in the last, so does the proposal, unless a later one succeeds.
//
// ReadBarrier lets a reader wait for everything that was committed before it asked. The leader, which has committed an entry of its own
// in its term, notes its commit index and then asks the voters for their terms; a majority must say the same. Readers of a node share a
// question that has not been asked yet. Raft's own VerifyLeader is not enough: it counts answers that were sent before it was called.
//
// Membership: AddNonvoter, CaughtUp, AddVoter, RemoveServer, Readdress are the steps; who takes them, and when, is ops/membership's to
// say. A node listens to every node that has a certificate of the cluster's CA and was not removed (Config.Refuse), also to one that it
// does not know as a member: it may be the one that is behind.
//
// Who is who: hashicorp/raft does not look who answers at an address, so every message of Raft is bound to the server id that it is for,
// by that node's certificate, and a node refuses what is meant for another one (B5, DESIGN.md).
//
// Goroutines: Raft's own, the port's, one that follows leadership, one that bounds the log and one that reads it over, and for each peer
// one that connects and one that reads. Open starts them, Close ends them. A proposal that Raft holds when it is shut down may leave one
// behind that waits for Raft's word.
//
// Disk: <data>/raft holds the log, term and vote (see raftlog), a checkpoint while it arrives from another node (incoming), and install.json
// while it replaces the state. The Machine keeps its own state, which is Raft's snapshot.
//
// What ends the process, by OnFatal: an error of Apply, a write of the log that fails or hangs, damage, a checkpoint over a log that went
// further (ADR 3). DESIGN.md has the reasons.
package cluster
