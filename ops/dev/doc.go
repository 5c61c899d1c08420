// Package dev runs a whole cluster on one machine, to try it and to test it: real nodes as processes of their own, on loopback.
//
// Data flow: Run locks the folder, lays out one folder per node (node.toml, data, log, pid) and dev.json, which remembers ports and accounts
// so that a second run finds the mail again; it starts node 1 as a new cluster, lets the others join by invite, waits until all vote,
// makes the accounts, sends the first messages, and then watches until its context ends, when it stops the nodes in turn. Nothing is
// durable here but what the nodes hold, and dev.json.
//
// The lock (dev.lock) is let go by the kernel however dev ends. Every node waits for it by Follow, also one that Restart started from
// another process, and ends when it gets it. So nothing is left behind, and no two runs share a folder.
//
// Goroutines: one per node process waits for its end; Run waits for all of them. Follow's waits in the kernel and ends with its process.
package dev
