// Package admin carries an administrator's requests to a running node: a small JSON protocol over HTTP, on loopback or a Unix socket.
//
// Data flow: the command line reads the node's configuration, finds the address of the admin listener and the token in the data
// folder (mode 0600, made anew at each start), and posts one JSON object to /v1/<method>; the node answers with one JSON object, or
// with {"error": …} and a status that tells whose fault it was. Whoever can read the token file administers the node: there is no
// other secret. A method has two minutes, unless it is registered as long or answers with a stream. Nothing is durable here; each method's own package says what is when it answers.
//
// Goroutines: those of net/http, ended by Serve's context.
package admin
