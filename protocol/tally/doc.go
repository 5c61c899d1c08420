// Package tally counts what clients do at all nodes together, by batches of counts that the nodes tell each other.
//
// # Data flow
//
//	events here ─► Counter ─ Export ─► batches ─► the other nodes' Import ─► their Counter
//
// Nothing is durable, and nothing comes into the replicated log: a stranger must not be able to write there. A batch that is lost makes the other
// nodes count less, one that arrives twice counts once. [Exchange] numbers the batches and recognises those; [Counter] counts events in a window
// of time. Package sasl shares failed logins through an Exchange of its own.
//
// There are no goroutines and no clock here; whoever calls Export decides how often. Everything is bounded.
package tally
