package disk

import (
	"fmt"
	"syscall"
	"time"

	"github.com/quorumail/quorumail/jepsen/disk/faultfs"
)

// Part is a part of a node's data folder.
type Part string

// The parts, by what a node loses with them.
const (
	Log    Part = "log"    // of the replication
	State  Part = "state"  // the database
	Bodies Part = "bodies" // of messages
	All    Part = "all"    // the whole folder
)

// Parts are the parts that are not the whole.
func Parts() []Part { return []Part{Log, State, Bodies} }

// pattern is a regular expression for paths within the data folder.
func (p Part) pattern() string {
	switch p {
	case Log:
		return "^/raft/"
	case State:
		return "^/state/"
	case Bodies:
		return "^/blobs/"
	}
	return ""
}

// Fault is what a disk does wrong. Make it with one of the functions below; fields of Rule that they leave alone may be set, such as Chance,
// Skip and Times.
type Fault struct {
	Name string // for the history
	Rule faultfs.Rule
}

// FailRead lets reads fail with EIO. What the program's kernel remembered is forgotten.
func FailRead(p Part) Fault {
	return Fault{fmt.Sprintf("reads of the %s fail", p), faultfs.Rule{Op: "read", Path: p.pattern(), Errno: syscall.EIO}}
}

// FailWrite lets writes fail with EIO when half is written.
func FailWrite(p Part) Fault {
	return Fault{fmt.Sprintf("writes to the %s fail", p), faultfs.Rule{Op: "write|truncate", Path: p.pattern(), Errno: syscall.EIO, Short: true}}
}

// FailSync lets fsyncs fail with EIO; a later one that succeeds makes safe what this one did not.
func FailSync(p Part) Fault {
	return Fault{fmt.Sprintf("fsyncs of the %s fail", p), faultfs.Rule{Op: "fsync|fsyncdir", Path: p.pattern(), Errno: syscall.EIO}}
}

// ForgetSync lets fsyncs fail with EIO as on Linux: what was to be made safe is lost at the next loss of power, though it can be read until
// then and a later fsync succeeds ("fsyncgate", 2018).
func ForgetSync(p Part) Fault {
	return Fault{fmt.Sprintf("fsyncs of the %s fail and forget", p), faultfs.Rule{Op: "fsync", Path: p.pattern(), Errno: syscall.EIO, Forget: true}}
}

// LieSync lets fsyncs succeed that do nothing, as a disk with a volatile cache does. No program can keep its promises on such a disk: it is for
// showing that the tests see it.
func LieSync(p Part) Fault {
	return Fault{fmt.Sprintf("fsyncs of the %s lie", p), faultfs.Rule{Op: "fsync|fsyncdir", Path: p.pattern(), Lie: true}}
}

// NoSpace lets whatever needs space fail with ENOSPC, whatever is free; Fill is the gentler way.
func NoSpace(p Part) Fault {
	return Fault{fmt.Sprintf("no space for the %s", p), faultfs.Rule{Op: "write|create|mkdir", Path: p.pattern(), Errno: syscall.ENOSPC}}
}

// Slow lets each operation take so much longer.
func Slow(p Part, by time.Duration) Fault {
	return Fault{fmt.Sprintf("operations on the %s take %v longer", p, by), faultfs.Rule{Op: ".*", Path: p.pattern(), Delay: by}}
}

// SlowSync lets each fsync take so much longer.
func SlowSync(p Part, by time.Duration) Fault {
	return Fault{fmt.Sprintf("fsyncs of the %s take %v longer", p, by), faultfs.Rule{Op: "fsync|fsyncdir", Path: p.pattern(), Delay: by}}
}

// HangSync lets fsyncs hang until the fault is undone; then they are done. Killing the program ends them too.
func HangSync(p Part) Fault {
	return Fault{fmt.Sprintf("fsyncs of the %s hang", p), faultfs.Rule{Op: "fsync|fsyncdir", Path: p.pattern(), Hang: true}}
}

// Hang lets all operations hang, as HangSync does fsyncs.
func Hang(p Part) Fault {
	return Fault{fmt.Sprintf("operations on the %s hang", p), faultfs.Rule{Op: ".*", Path: p.pattern(), Hang: true}}
}

// FlipRead lets reads get one bit wrong, with a chance from above 0 to 1. What the program's kernel remembered is forgotten.
func FlipRead(p Part, chance float64) Fault {
	return Fault{fmt.Sprintf("reads of the %s get bits wrong", p), faultfs.Rule{Op: "read", Path: p.pattern(), Flip: true, Chance: chance}}
}

func errInject(f Fault) error {
	return fmt.Errorf("%w: that %s, only %s lets happen", ErrNotHere, f.Name, FaultFS)
}
