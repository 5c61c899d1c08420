// Command jepsen runs a cluster of quorumail nodes, lets clients work while faults are caused, and tells whether a promise was broken.
//
// Data flow: run makes a lab, a cluster in it, accounts and mailboxes; then clients of the chosen workloads and a nemesis run side by side
// until the time is over; everything is healed, every mailbox is read at every node, state hashes and logs are collected, and the checkers
// judge the history. For workloads that send mail elsewhere there are a name server and two other sites in the lab, and before the mailboxes are read
// the queues are emptied. The folder of the run keeps history.jsonl, results.json, report.html and the nodes' logs. With --fill the cluster holds
// much mail before the clients start. With --cluster they work on a cluster that runs already, and the faults are what its administrator does
// and types meanwhile. replay repeats a run from its history; report judges a history again.
//
// Goroutines: one per client, one for the nemesis or for what is typed, all ended by the run's context.
//
// Exit codes: 0, all was well; 1, a promise was broken; 2, wrong usage; 3, the run itself failed or a checker could not tell.
package main
