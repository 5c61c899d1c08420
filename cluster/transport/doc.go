// Package transport carries everything between nodes over one TLS 1.3 port with mutual certificates from the cluster's own CA. ALPN
// separates Raft, calls, bulk streams and joining; public listeners never speak these.
//
// Goroutines: one accepts, one per connection serves, started by Serve and ended by Close.
package transport
