// Package state says what each command does: a deterministic machine that turns the replicated log into accounts, mailboxes and
// messages, the same on every node.
//
// Data flow: Apply takes committed entries and writes what they do, their results and the position into one batch; readers take a
// View, which is one moment of it. Inline bodies go into the blob store before the batch is committed. Nothing is synced by Apply:
// the log is the truth, and Persist makes the state durable before the log is truncated. After a crash the state is at some earlier
// position, not before the last Persist, and the entries behind it are applied again; UnsureInline names the inline bodies that the
// crash took while references to them survived. Checkpoint streams the replicated keys in order, with a digest; Restore takes such a
// stream into a store of its own, which takes over by one rename. BecomeNewCluster makes a restored state another cluster's beginning.
//
// What may decide over a command: the command, the replicated keys, and the position with its members. Never: this node's bodies, its
// clock, where a batch is cut. What is refused is refused on every node alike; an error of Apply stops the node.
//
// Files: a command family each (message, flags, expunge, copy, mailbox, directory, settings, body, server, clusterops, sweep, queue*, resend, trace, rules); bounds.go
// has every bound on what a command may carry; results.go, inline.go, current.go, checkpoint.go and restore.go are the machine's parts;
// check*.go verify every invariant.
//
// Goroutines: none of its own, but one for each Checkpoint until its stream is closed. Apply and Restore are called one at a time;
// Persist and Views may run meanwhile.
//
// Disk: a key-value store in <dir>/kv-N, where the file <dir>/CURRENT holds that name. Keys are described in keys.go. DESIGN.md has the
// reasons.
package state
