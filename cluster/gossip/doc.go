// Package gossip lets nodes notice each other: who is alive, what version it runs, how loaded and how far behind it is, and small news such
// as failed logins. It routes and warns; it never decides who leads, who is a member or what is committed.
//
// Data flow: every node says twice a second how it is (a beat), and passes on the beats and news of others once, so that they reach nodes
// that the sender cannot reach. Both may be lost, come late or come twice; the newest beat of a node counts, and news are delivered once.
// Nothing is durable: a node that starts knows nobody, and asks Config.Seeds whom to greet.
//
// Liveness comes from the SWIM protocol (Das, Gupta, Motivala, 2002) by hashicorp/memberlist: each node probes another every 200 ms, and
// one that does not answer, nor through third nodes, is suspected, and after a while held for dead unless it objects.
//
// Everything is encrypted with keys that the cluster keeps in its replicated state (Keys); what none of them opens is refused.
//
// Goroutines: memberlist's own, begun by Start, and that of Run, which ends them.
package gossip
