// Package history is what happened in a run: every operation of every client with its outcome, and every fault, in one stream of JSON lines.
//
// Data flow: workloads and nemeses call a Recorder, which writes a line per event as soon as it ends; Load reads the file back; checkers
// judge the loaded History; Page draws it. All times are offsets from the start of the run on one monotonic clock, that of the process that
// drives the clients, so that "before" means real-time order across clients and nodes.
//
// Goroutines: none; a Recorder may be shared.
package history
