// Package state says what each command does: a deterministic machine that turns the replicated log into accounts, mailboxes and
// messages, the same on every node.
//
// Data flow: Apply takes committed entries and writes what they do, their results and the position into one batch; readers take a
// View, which is one moment of it. Inline bodies go into the blob store before the batch is committed. Nothing is synced by Apply:
// the log is the truth, and Persist makes the state durable before the log is truncated. After a crash the state is at some earlier
// position, and the entries behind it are applied again.
//
// Goroutines: none of its own. Apply, Persist and Restore are called one at a time; Views may be taken at any time.
//
// Disk: a key-value store in <dir>/<name>, where the file <dir>/CURRENT holds the name. Keys are described in keys.go.
package state
