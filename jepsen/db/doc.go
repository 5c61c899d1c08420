// Package db runs the system under test: real processes of the quorumail program in a lab, and everything that may happen to them.
//
// Data flow: a Cluster writes one configuration file per node, founds the cluster on the first node and lets the others join by invite. After
// that nemeses kill, stop, pause, wipe, replace, upgrade, add and remove nodes by its methods, and workloads ask it where the nodes are. It
// knows nothing of the program but its command line, configuration, administrator's listener and log.
//
// What a node says when it ends by itself goes into the history as a note of kind "ended"; lines of logs that look like a broken invariant
// become notes of kind "log", which a checker judges.
//
// Goroutines: one per process waits for its end; Close waits for all of them.
package db
