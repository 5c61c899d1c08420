// Package client talks to the system under test as users and administrators do, and says of every operation whether it happened.
//
// Data flow: a workload calls one method per operation; bytes go over connections that a Dialer makes; an error that comes back is judged
// by Outcome: Fail only if the operation cannot have happened and never will, Unknown for everything that came too late to tell.
//
// Goroutines: those of the libraries' clients, ended by Close.
package client
