// Package faultfs is a file system (FUSE, Linux) that forgets what was not synced, and fails as told: for tests of programs that promise
// to keep data through a loss of power. It stands over a folder of an ordinary file system, which needs no fsync of its own.
//
// # Data flow
//
// A change (bytes written, a file cut, a name made, moved or removed) is done at once in the backing folder, so that reading needs no
// thought, and is noted in a journal in memory together with what it replaced. An fsync of a file takes that file's changes of bytes out
// of the journal: they are safe. An fsync of a folder does so for the names in it; a move between two folders is safe when either was
// synced, and what it builds on with it. Nothing else makes anything safe, unless Config.Journaled is set: then any fsync makes all names
// safe, as ext4 and XFS mostly do.
//
// Crash ends the mount as a loss of power would: the whole journal is undone, the newest change first, and then what Keep chooses is done
// again: all, nothing, the changes up to some moment (the last write torn), or any subset (each write in sectors of 512 bytes). A subset
// respects only that changes of one name happened in their order. Afterwards the backing folder is what the disk held; Mount it again to
// boot. The program under test must be dead before, or Cut must have been called: that is the moment in which the power goes, under programs
// that live on and get EIO from then on.
//
// Removed files and folders move to a grave beside the backing folder until their removal is safe, so that every change of names is a
// move or two, and is undone by moving back. Folders are held by descriptors, for their paths may change.
//
// # What is not modelled
//
// Modes, owners and times are not journaled. Symbolic links and devices are refused. Two writes to one sector never mix within it.
//
// # Goroutines
//
// Those of the FUSE server, ended by Crash and Unmount. Do not map files of the mount in the process that serves it: a page fault blocks
// a thread without telling the runtime.
package faultfs
