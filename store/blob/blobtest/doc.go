// Package blobtest is the suite that every blob.Store passes: the one on the disk and its twin in memory.
//
// Data flow: Make makes bodies from a seed, of any size, some of which compress; Test opens an empty store for each of its tests, puts bodies,
// reads them back, deletes, damages and compacts them, and compares what comes out with what went in. Put and Check are for other tests
// that need bodies. Subject.Damage is how a store under test lets its stored bytes be made wrong.
//
// Goroutines: only within the test of concurrent use, which waits for them. Nothing is kept beyond a test's temporary folder.
package blobtest
