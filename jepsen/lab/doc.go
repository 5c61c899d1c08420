// Package lab is the place where a cluster runs while it is tested: nodes n1, n2 and so on, and the clients, each at an address of its own.
//
// With root, each is in a network namespace of its own, joined by a jepsen/net switch, which can then part or spoil any link between them. The
// namespaces are called qj-PID-XXXX-NODE, where iproute2 finds them: "ip netns exec qj-… ss -ti" shows a node's sockets. Without root all
// run side by side on addresses of 127.0.0.0/8, each locked by a file so that no other laboratory takes it; there are no network faults then.
//
// # Data flow
//
// Command makes the command that starts a program at a node; DialContext and DialFrom connect from the clients' or from a node's place, Listen
// and ListenPacket listen there. The laboratory does not know what runs in it. Limit takes processor time, memory or file descriptors from
// one of its processes; StartDNS runs a name server in it that fails as told, and AddPlace makes room for others.
//
// A laboratory removes what it made: Close does, and New does it for laboratories of processes that are gone (namespaces and cgroups whose
// names hold the id of such a process).
//
// # Goroutines
//
// Those of the switch and of name servers, and one per process whose processor time is limited without cgroups. Close, or the undo function,
// ends and awaits them.
package lab
