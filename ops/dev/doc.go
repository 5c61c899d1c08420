// Package dev runs a whole cluster on one machine, to try it and to test it: real nodes as processes of their own, on loopback.
//
// Data flow: Run lays out one folder per node (node.toml, data, log, pid) and dev.json, which remembers ports and accounts so that a
// second run finds the mail again; it starts node 1 as a new cluster, lets the others join by invite, waits until all vote, makes the
// accounts, sends the first messages, and then watches until its context ends, when it stops the nodes in turn. Nothing is durable
// here but what the nodes hold, and dev.json.
//
// Goroutines: one per node process waits for its end; Run waits for all of them.
package dev
