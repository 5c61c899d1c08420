// Package clustertest runs whole clusters in one process: real nodes with the real Raft and the real log, on a network and on disks in
// memory that break on command.
//
// Stories are text files in testdata; Run says what they may contain. They run in a testing/synctest bubble, so that time stands still
// while anything works: a story of minutes takes a second, and a slow machine changes nothing.
//
// What breaks: links between nodes in one or both directions, for all traffic or for one protocol (what is under way waits, as TCP
// would have it, and arrives when the link heals), slow and narrow links, connections that are reset; disks that forget what was not
// synced, and their folders' entries; processes that are killed at any time, and that end themselves.
//
// What is checked: see Cluster.Check. The machine of the stories is a toy; cmd/quorumail/stack_test.go puts whole nodes, with
// the real state and bodies, on the same network.
package clustertest
