// Package workload is what users do to the system under test while things break: each workload is a kind of work whose results a checker
// can judge.
//
// Data flow: Setup makes what the work needs; several Processes, each one client that does one thing after the other, work until their
// context ends and record every operation in the history; once all faults are healed, Final reads every mailbox at every node whole. What
// comes next is drawn from a generator seeded by the run's seed, the workload and the process, so that a seed repeats the work as far as
// the outcomes are the same.
//
// Workloads whose mail may wait in a queue need Drain between healing and Final: it has all that waits tried again until nothing does. Sites, to
// which such mail goes, are package site's; they record by themselves what comes to them.
//
// Goroutines: Final has one for each node, and waits for them; Process has none.
package workload
