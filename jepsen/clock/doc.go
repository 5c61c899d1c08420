// Package clock gives one running program a wall clock of its own: it jumps, strobes or drifts, while the rest of the machine keeps the time.
//
// # How
//
// Programs ask for the time through the vDSO, a page of code that the kernel maps into each process and that a write through /proc/PID/mem
// copies for that process alone. Of puts a small function into the unused end of the page, and a jump to it at the beginning of
// __vdso_clock_gettime: it asks the kernel, and adds an offset when CLOCK_REALTIME or CLOCK_REALTIME_COARSE was asked for. The offset lies
// behind the function, where later changes write it while the program runs. CLOCK_MONOTONIC, and with it all timers, is as before, only that
// each question is a system call (some 100 ns more).
//
// Go programs on Linux take their time from there alone (time.Now; not syscall.Gettimeofday and syscall.Time, which have vDSO functions of
// their own or are system calls). The times of files come from the kernel, and are the machine's. A program that is started by the one whose
// clock is wrong has the machine's time again.
//
// Only x86-64; on other machines, and where the kernel gives no vDSO, the errors are ErrUnsupported.
//
// # Data flow
//
// Offsets go from the caller into the memory of the program, at a moment that the caller chooses (Jump, Reset) or over time until its
// context ends (Strobe, Drift). There are no goroutines.
package clock
