package regress

import (
	"fmt"
	"strings"
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
	MedianGap time.Duration // of each kind of fault: the longest time without an acknowledged write, in half of them; 0: any
	NoEnds    bool          // no node may end by itself
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
		for name, gap := range r.Figures {
			if fault, ok := strings.CutPrefix(name, "median gap, "); ok && r.Checker == "availability" && e.MedianGap > 0 && gap > e.MedianGap {
				out = append(out, fmt.Sprintf("%s: in half of them no write was acknowledged for %v, more than %v", fault, gap.Round(time.Millisecond), e.MedianGap))
			}
		}
		if ended := r.Counts["ended"]; r.Checker == "logs" && e.NoEnds && ended > 0 {
			out = append(out, fmt.Sprintf("nodes ended by themselves, %d times", ended))
		}
	}
	return out
}
