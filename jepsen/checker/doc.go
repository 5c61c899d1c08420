// Package checker judges histories: whether what clients saw can have been, if the promises were kept.
//
// Data flow: a history.History comes in, one Result per checker goes out. A checker reads only the kinds of operations that it knows, so
// all of them run over any history, and over several workloads at once.
//
// Goroutines: none outlives a call, but a search of Porcupine that ran out of time, which ends by itself a moment later.
package checker
