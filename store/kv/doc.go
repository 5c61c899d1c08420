// Package kv keeps ordered keys and values on this node's disk.
//
// There are two stores behind one interface: Pebble, and an independent memory twin for tests (an immutable tree). kvtest.Test is
// the suite that both pass.
//
// # Data flow
//
// A Batch collects changes and commits them in one step; readers see a batch wholly or not at all, and a Batch sees its own changes.
// A commit with sync is durable when it returns. One without is durable after the next Flush, the next synced commit, or when the
// kernel has written Pebble's log back; after a crash what is left is a prefix of the commits, in their order.
//
// OnFlushBegin runs before every flush of a memtable, so that what the flushed keys refer to can be made durable first. It does not
// run for the replay of the log at Open, and the log itself makes keys durable at any time (when the kernel writes it back, and when
// Pebble begins the next log): a caller that needs more verifies its references when it starts.
//
// # Errors
//
// Every failed write, fsync or rename below the store's folder, every background error and every corrupt table ends the store:
// OnFatal is called once, and all later commits fail with that error (durable.FailStop holds the door shut while the process ends).
//
// Pebble takes a damaged record of its manifest for the torn end of a crash, and would open an older store without a word. So the manifest
// is sealed: MANIFEST.seal holds its length and checksum, durably, before any file that it made obsolete is removed or reused, and Open
// demands it (manifest.go).
//
// # Goroutines
//
// Pebble starts its own for flushes and compactions; Close waits for them. OnFatal and OnFlushBegin run on these, the latter under
// Pebble's lock: it must not use the store.
package kv
