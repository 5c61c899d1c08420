// Package net is a user-space Ethernet switch for a laboratory of network namespaces: it joins them, and spoils the network as told. It is
// the only mechanism of ours for network faults, so that a run needs no packet filter, bridge or queueing module of the kernel.
//
// # Data flow
//
// Each end (Attach) is a TAP device in a namespace. A frame that the kernel there sends is read by the end's reader, which finds the
// receiver by the destination address and looks at the rules of the directed link between the two. Without rules the frame is written to the
// receiver's device at once. With rules, every one that fits the frame acts on it in the order of the list: it may end there (cut, lost, the
// queue of a rate is full), be spoilt, doubled, or wait for its time in the delay line.
//
// What is cut is silent: a sender gets neither an error nor a reset, only no answer. The switch answers ARP itself, for all ends at all
// times: otherwise the kernel would tell a sender after some seconds that there is no such host, which a partition in a routed network would
// never do. It carries IPv4 between the attached ends and nothing else: no broadcast, no multicast, no IPv6.
//
// Apply and Heal change any number of links in one step, and are barriers: when they return, no frame passes by the rules of before. That
// holds for delayed frames too: a frame whose time has come is dropped when its link is cut by then. Healing does not hurry those that wait.
//
// The kernel computes all checksums before the switch sees a frame, so that a corrupted one is noticed and dropped by the receiver, as on
// real wires; a frame is at most an MTU, so that loss is that of packets. (The kernel could hand over larger pieces with their headers, but
// then a flipped bit would reach the program, and one lost frame would be 64 KiB.)
//
// # Cost
//
// Two system calls per frame. Measured on two quiet cores with MTU 9000: one TCP connection carries 600 MB/s, and a small request and its
// answer take 26 µs, one after the other. Of the processor time of a round trip the switch takes 12 µs (two frames and an acknowledgement),
// most of it in the receiver's TCP, which runs within the write. So 64 mail clients with 1,000 operations of ten round trips each per second
// cost about an eighth of a core. BenchmarkCopy, BenchmarkRoundTrip and BenchmarkManyRoundTrips repeat the figures.
//
// # Goroutines
//
// One reader per end and one for the delay line. Close ends them and waits for them.
package net
