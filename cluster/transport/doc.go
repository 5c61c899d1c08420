// Package transport carries everything between nodes over one TLS 1.3 port with mutual certificates from the cluster's own CA. ALPN
// separates Raft, calls, bulk streams and joining; public listeners never speak these.
//
// Who connects has 5 seconds to show a certificate; of more than 128 that have not, the oldest is dropped. Who joins has none: it gets
// small frames, a minute and few places. Admit says whether a node with a certificate may connect at all, and DropRefused cuts those that
// no longer may. A peer whose machine is gone is noticed within about 10 seconds by the kernel (keepalive, TCP_USER_TIMEOUT); a paused
// process is not, for it may come back: calls end with their contexts.
//
// Who dials names the node that it means, and compares the certificate; the node that is dialed refuses what is meant for another one, and
// for Raft also what names nobody.
//
// Many calls share a connection, as frames of at most 16 MiB. What is larger is refused before it is sent, for it would end the
// connection and with it all other calls.
//
// Goroutines: one accepts, one per connection serves, started by Serve and ended by Close; one more writes for each connection of calls,
// and one runs for each call, which ServeCalls waits for.
package transport
