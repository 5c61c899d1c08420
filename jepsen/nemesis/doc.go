// Package nemesis breaks things while clients work, and mends them.
//
// Data flow: Run draws, from a seed, a random subset of the chosen faults for each period, causes them, waits, heals them and lets the
// cluster be quiet for about a quarter of the time; every fault goes into the history with whom it hit and when. In the end everything is
// healed and the cluster is whole again. A Fault's Inject says how to undo what it did; what must never last longer than a fault (no more
// than a minority of lost disks) is held by Run, for all faults together.
//
// Goroutines: those of faults that go on for a while (strobing clocks), ended by their undo functions.
package nemesis
