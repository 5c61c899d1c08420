package regress

import (
	"fmt"
	"time"

	"github.com/quorumail/quorumail/jepsen/checker"
)

// Entry is a bug that was found, and the run that shows it.
type Entry struct {
	Name   string   // what it is called on the command line
	What   string   // what clients or administrators saw, and why
	Args   []string // of "jepsen run", with the seed, without programs and folders
	Broken string   // the commit whose program shows it
	Fixed  string   // the commit that fixed it

	// Limits that no checker sets, for they are no promises in every run.
	Gap    time.Duration // the longest time without an acknowledged write in the whole run; 0: any
	NoEnds bool          // no node may end by itself
}

// ByName finds an entry.
func ByName(name string) (Entry, error) {
	var names []string
	for _, e := range All() {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return Entry{}, fmt.Errorf("there is no entry %q: choose of %q", name, names)
}

// Judge tells which of the entry's own limits a run did not keep.
func (e Entry) Judge(results []checker.Result) []string {
	var out []string
	for _, r := range results {
		if gap := r.Figures["longest gap"]; r.Checker == "availability" && e.Gap > 0 && gap > e.Gap {
			out = append(out, fmt.Sprintf("no write was acknowledged for %v, more than %v", gap.Round(time.Millisecond), e.Gap))
		}
		if ended := r.Counts["ended"]; r.Checker == "logs" && e.NoEnds && ended > 0 {
			out = append(out, fmt.Sprintf("nodes ended by themselves, %d times", ended))
		}
	}
	return out
}
