// Package durable says when a write is safe. It is the only code of ours that fsyncs or renames.
//
// # Data flow
//
// A caller hands over bytes and a path. WriteFile writes a temporary file beside the path, fsyncs it, renames it over the path and
// fsyncs the folder: when it returns nil, the new content survives a loss of power; when it returns an error, the old content may
// or may not have been replaced, but never by half of the new one. MkdirAll, Rename and Remove fsync the folders whose entries
// they changed. SyncFile and SyncData fsync an open file; they do not fsync the folder it stands in.
//
// # Errors
//
// After a failed fsync nobody knows what is on the disk (Linux marks the pages clean and reports the error once), so a caller must
// not try again and believe the second answer. FailStop makes that a rule for everything under one folder: the first failed write
// or fsync is reported once to a callback that stops the node, and everything after it fails too.
//
// # File systems
//
// All functions exist for any Pebble vfs.FS as methods of Disk, so that tests inject errors and crashes; the functions of the
// package work on the operating system's files.
//
// There are no goroutines here.
package durable
