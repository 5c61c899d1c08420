// Package kvtest is the suite that every kv.Store passes: Pebble and its twin in memory.
//
// Data flow: Test opens an empty store for each of its tests. Most of them write a few keys and look at what readers, snapshots, iterators and
// batches see; one makes random changes to the store and to a plain map, compares them, and prints its seed.
//
// Goroutines: only within the test of concurrent use, which waits for them.
package kvtest
