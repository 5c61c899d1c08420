// Package storepb is the wire form of the nouns and commands of package store, generated from store.proto: what travels in the
// replicated log and what the state keeps on disk. Field numbers are never reused; a command that a node does not know stops it.
package storepb
