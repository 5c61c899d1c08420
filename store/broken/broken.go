// Package broken names the safety measures that a deliberately broken build can switch off, so that whoever tests Quorumail from outside can
// show that his tests notice.
//
// Data flow: a build with the tag "broken" reads the environment variable QUORUMAIL_BROKEN, names with commas between; the code that owns a
// measure asks On, and does without. In every other build On is the constant false: the compiler drops the question and what depends on it,
// and no environment can bring it back.
//
// Goroutines: none.
package broken

// Switch is a safety measure that can be switched off.
type Switch string

// The safety measures.
const (
	FsyncLog     Switch = "fsync-log"     // the Raft log, term and vote are acknowledged without an fsync
	FsyncBody    Switch = "fsync-body"    // bodies, also those in commands, are acknowledged without an fsync
	Dedupe       Switch = "dedupe"        // a command that is in the log twice is executed twice
	BarrierNone  Switch = "barrier-none"  // a read barrier returns at once
	BarrierAlone Switch = "barrier-alone" // a leader answers read barriers without asking the voters
	QuorumSet    Switch = "quorum-set"    // a body goes on the accepting node's disk alone, and Apply does not mind
	LogDropped   Switch = "log-dropped"   // a log that is damaged or does not fit the state is dropped at the start
)

// All are the names that QUORUMAIL_BROKEN takes.
func All() []Switch {
	return []Switch{FsyncLog, FsyncBody, Dedupe, BarrierNone, BarrierAlone, QuorumSet, LogDropped}
}
