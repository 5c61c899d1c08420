// Command quorumail is the whole mail server: a node of the cluster, and the commands that administer it. It puts the parts together and
// has no logic of its own but how a node becomes one: founding, joining, and its identity.
//
// # Data flow
//
// "quorumail serve" is a node. Mail clients come in by smtpd and imapd, whose sessions read store/replica and propose to it; cluster carries
// the proposals to a majority (durable there), and store/state applies them on every node. The other commands, but for those that work on a
// folder (backup, restore, dev, config), ask the running node at its admin listener, whose token lies in the data folder.
//
// # The data folder
//
//	node.json         who this node is: its id, the mark of its data, its number of starts. It comes last when a node is made: without
//	                  it there is no node yet
//	joining.json      while the node joins a cluster: its token, key and request, to go on with after a crash
//	restoring         while a backup is restored: until it is gone, the folder is no node
//	node.crt node.key ca.pem
//	                  the certificate for talking to other nodes, its key, and the cluster's authority
//	ca.key            the authority's key, on the node that founds a cluster and only until the key is in the replicated state
//	secrets.key       the cluster's key for secrets (DKIM keys, passwords of smarthosts), which are sealed under it before they are replicated. All
//	                  nodes have the same: from the founder, by the answer to who joins, or by a call between members. It is in no backup
//	tls.crt tls.key   the certificate for mail clients, when the configuration names none
//	admin.token       who can read it may administer the node
//	raft/             the replicated log, term and vote (package cluster)
//	state/            what the log's commands have made (package state)
//	blobs/            message bodies (package blob), and bodies while they stream in
//
// Each of the three folders has a file "incarnation" with the mark of node.json: a folder that was replaced or put back from elsewhere shows,
// and the node does not start (condition B5).
//
// # Start and stop
//
// The order of the start: the folder and the identity; the bodies, then the state, which refers to them; the port for other nodes; when
// joining, the cluster's state from another node; the replica and the directory; the log, and inline bodies that a crash took, from it; the
// cluster with the membership, which begins to take part; then, in the background, the replica's and the membership's work, gossip and the sharing of
// failed logins; the admin and metrics listeners; membership, when this is the first start; the mail clients' certificate; and last the
// listeners for mail, once the node can serve: a client that came earlier would be sent away.
//
// The stop (SIGTERM, SIGINT) is the reverse, but for the lead. First the node is no target any more: it says that it is not ready, and its
// listeners for mail are closed. Then it hands over the lead, while its sessions still run; their proposals go on through the next leader. Then
// the sessions end: at once between commands, with BYE or 421; one in the middle of a command when that is done, or after the drain (10 s) if
// it is the client who is waited for, with BYE or 421 too. Then the background work ends, and the replica, with the copies of bodies that are
// under way, the cluster, the state and the bodies are closed. A node may also be killed at any moment; a fatal error ends it at once, without any
// of this, and where nothing but another start helps, it makes that itself.
//
// # Goroutines
//
// One for each listener and each background part; run starts them and waits for all of them.
package main
