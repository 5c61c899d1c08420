// Package metrics shows a node's figures and health over HTTP.
//
// Data flow: each component counts in a struct of its own; cmd hands them over as collectors, and every GET of /metrics reads them in the
// text format of Prometheus. The stores, the log, the disk and the node's part in the cluster are asked at each scrape (Bodies, State, Log,
// Disk, Status). Names are quorumail_<component>_<figure>; labels are from closed sets. /healthz says that
// the process answers; /readyz says whether the node can serve, and if not, why, so that a load balancer can go by it. There is no login: the listener must not face strangers. Nothing is durable here.
//
// Goroutines: those of net/http, ended by Serve's context.
package metrics
