// Package raftlog keeps the replicated log, the term and the vote on this node's disk so that what it says is what was written, or
// the node stops.
//
// # Data flow
//
// Raft hands over entries; each gets a checksum of ours and goes to raft-wal ("wal") or raft-boltdb ("bolt"), which fsync it. Then the
// index of the last one is noted in the file "end". A read returns an entry whose checksum is right and whose index is the one that
// was asked for. Term and vote go to the file "stable", which is replaced as a whole.
//
// # What ends the process
//
// OnFatal is called when a write fails, when a write takes longer than Config.Hang (a thread may be stuck in the kernel for
// ever, and hashicorp/raft keeps leading with a log that it cannot write), and when an entry is not what was written. After that every
// call fails, and calls OnFatal again.
//
// # Damage is no shorter log
//
// raft-wal takes a last batch whose checksum fails for one that was torn by a crash, and forgets it; bbolt falls back to the page
// before the damaged one. Either would make a node forget what it acknowledged. So the file "end" holds the last index that was
// acknowledged; a log that ends before it is damaged (ErrRot). It is written without fsync, after the entries were fsynced, so it is
// never ahead of them; it is lowered, with fsync, before entries at the end are removed.
//
// # Disk
//
// Everything is in one folder, locked by LOCK: "wal" or "bolt" with the entries, "stable" with term and vote, "end". The small files
// carry checksums and are replaced by rename. A file that is missing while others are there is damage too.
//
// # Goroutines
//
// One watches for writes that hang, raft-wal has one that begins new segments; Close ends both. Scrub runs in its caller's.
package raftlog
