// Package tidy holds the conventions that can be tested: which folder may import which, that every package and exported name says what it
// is, where fsync, clocks, randomness and fresh contexts may stand. It has no code but an ordinary Go test.
//
// Data flow: the test parses every Go file of the project, and each rule answers with what it found; a finding that an entry of the table
// of exceptions explains is dropped, any other fails the test. An exception that explains nothing fails it too, so that the table does not
// outlive its reasons.
package tidy
