// Package membership changes who belongs to the cluster without ever leaving a message on too few disks (condition B4), and keeps the
// nodes talking to each other (gossip).
//
// Data flow: a node that was invited is a member without a vote; the leader lets it vote when it has caught up and holds every body. An
// administrator's "node remove" is handed to the leader, which waits until the rest holds everything. Both go the same way: a
// reconfigure command names the voters that shall be (durable, in the state; from here on every new body must be on a majority of the old
// and of the new ones); each of those scans its own body index at a read barrier; then Raft's configuration is changed, if it still is the
// one that was looked at; then the command's end. Whoever leads next finds the command in the state and finishes it, or gives it up if
// nothing was changed yet. A removed server is marked in the state before Raft lets it go, so that its word counts no more and its id
// never comes back (B5). Nobody is ever removed without an administrator's word.
//
// The leader also raises the version of commands when every member can read the next one, notes members' new addresses, and rotates the
// keys of the gossip, step by step as all members follow.
//
// Goroutines: Run of Manager and Run of Talker, which end with their contexts.
package membership
