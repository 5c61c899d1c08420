// Package regress is the list of bugs that runs of jepsen found, each with the run that shows it, so that none comes back.
//
// Data flow: All lists the entries; the program "jepsen regress" does the run of each against the program under test, lets the checkers judge
// it as any other run, and asks Entry.Judge whether it kept the limits that the entry sets besides.
//
// A new entry is a few lines in entries.go: what was seen, the arguments and the seed of the run, the last commit whose program shows it (build
// that, and name it with --bin: the entry must fail), and the commit that fixed it. What is random in clients and faults repeats with the
// seed; how threads and packets meet does not, so an entry whose bug is rare does its fault often.
//
// Goroutines: none.
package regress
