package nemesis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/db"
	"github.com/quorumail/quorumail/jepsen/history"
	"github.com/quorumail/quorumail/jepsen/lab"
	"github.com/quorumail/quorumail/jepsen/site"
)

// Target is what faults are done to.
type Target struct {
	Cluster *db.Cluster
	Lab     *lab.Lab
	Rand    *rand.Rand // of the nemesis alone
	History *history.Recorder
	Logger  *slog.Logger
	OldBin  string       // of an earlier version, for upgrades; "" when there is none
	DNS     *lab.DNS     // whom the nodes ask; nil: nobody of ours
	Sites   []*site.Site // that mail is sent to, if any
}

// Done is a fault that was caused.
type Done struct {
	Nodes  []string // whom it hit
	Detail string
	Undo   func(context.Context) error // nil when the general healing (nodes that do not run are started) undoes it
}

// Fault is one kind of fault. Inject causes it. ErrNotHere is returned when this lab or disk cannot do it.
type Fault struct {
	Name   string
	Family string // faults of one family are never caused at the same time
	Heavy  bool   // it takes a quorum away or harms a disk: never together with another fault
	// Damages says that the fault may cost a node its data: it may refuse to go on, and be replaced afterwards. After any other fault that is
	// a broken promise.
	Damages bool
	Ends    bool // the nodes that it hits may end by themselves, with a reason; one that Damages may, too. After any other fault that is a broken promise
	Inject  func(ctx context.Context, t *Target) (Done, error)
}

// ErrNotHere is that a fault cannot be caused in this lab.
var ErrNotHere = errors.New("this fault cannot be caused here")

// ErrLost is that a fault showed that something is lost which had to be kept: healing cannot bring it back.
var ErrLost = errors.New("data were lost")

// Schedule says how faults are spread over time.
type Schedule struct {
	Hold    time.Duration // a fault lasts between half of this and one and a half
	Quiet   float64       // share of the time without faults, about
	Most    int           // faults at once
	Heal    time.Duration // how long the cluster may take to be whole after a period; default five minutes
	Lead    time.Duration // quiet before the first fault, with which writes in faults are compared; default half of Hold
	Repeats int           // when > 0: every fault of the list in turn, so many times, one at a time, instead of random ones
	Pairs   bool          // every fault once alone, then every pair that may come together, in random order, and so on until the time is over
}

// Run causes faults until ctx ends (or the repeats are done), and heals all of them. The error says what did not heal: the cluster is not
// as it should be then.
func Run(ctx context.Context, t *Target, faults []Fault, s Schedule) error {
	if s.Heal == 0 {
		s.Heal = 5 * time.Minute
	}
	if len(faults) == 0 {
		<-ctx.Done()
		return nil
	}
	next := s.order(t.Rand, faults)
	pause(ctx, cmp.Or(s.Lead, s.Hold/2)) // there must be work for the first fault to harm
	for period := 0; ctx.Err() == nil && (s.Repeats == 0 || period < s.Repeats*len(faults)); period++ {
		chosen := next()
		if err := onePeriod(ctx, t, chosen, s); err != nil {
			return err
		}
	}
	return nil
}

// order is what the schedule causes next.
func (s Schedule) order(r *rand.Rand, faults []Fault) func() []Fault {
	if s.Repeats == 0 && !s.Pairs {
		return func() []Fault { return choose(r, faults, s.Most) }
	}
	var list [][]Fault
	for i := range faults {
		list = append(list, faults[i:][:1])
	}
	if s.Pairs {
		list = append(list, pairs(r, faults)...)
	}
	at := 0
	return func() []Fault {
		at++
		return list[(at-1)%len(list)]
	}
}

// pairs are all pairs of faults that may come together, in random order.
func pairs(r *rand.Rand, faults []Fault) [][]Fault {
	var out [][]Fault
	for i, a := range faults {
		for _, b := range faults[i+1:] {
			if !a.Heavy && !b.Heavy && a.Family != b.Family {
				out = append(out, []Fault{a, b})
			}
		}
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// choose draws up to most faults of different families; a heavy one comes alone.
func choose(r *rand.Rand, faults []Fault, most int) []Fault {
	count := 1 + r.IntN(max(1, most))
	var out []Fault
	for _, i := range r.Perm(len(faults)) {
		f := faults[i]
		if len(out) > 0 && (f.Heavy || out[0].Heavy) || slices.ContainsFunc(out, func(o Fault) bool { return o.Family == f.Family }) {
			continue
		}
		if out = append(out, f); len(out) == count {
			break
		}
	}
	return out
}

// onePeriod is: faults, healing, quiet.
func onePeriod(ctx context.Context, t *Target, faults []Fault, s Schedule) error {
	var running []history.Fault
	var undo []func(context.Context) error
	var lost error
	// What is begun is done, and healed, also when the time is over meanwhile.
	doing, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Heal)
	defer cancel()
	for _, f := range faults {
		at := t.History.Now()
		done, err := f.Inject(doing, t)
		if done.Undo != nil {
			undo = append(undo, done.Undo) // also of what was left half done
		}
		if errors.Is(err, ErrNotHere) {
			t.Logger.Info("left out", "fault", f.Name, "err", err)
			continue
		}
		t.Logger.Info("fault", "name", f.Name, "nodes", strings.Join(done.Nodes, ","), "detail", done.Detail, "err", err)
		fault := history.Fault{Name: f.Name, Nodes: done.Nodes, Start: at, Detail: done.Detail, Ends: f.Ends || f.Damages}
		if err != nil {
			fault.Error = err.Error()
		}
		running = append(running, fault)
		if errors.Is(err, ErrLost) {
			lost = err
			break
		}
	}
	hold := time.Duration(float64(s.Hold) * (0.5 + t.Rand.Float64()))
	if lost == nil {
		pause(ctx, hold)
	}
	healing, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Heal)
	defer cancel()
	damaged := slices.ContainsFunc(faults, func(f Fault) bool { return f.Damages })
	if err := heal(healing, t, undo, running, damaged, lost); err != nil {
		err = fmt.Errorf("after %s: %w", names(running), err)
		t.History.Note(history.Note{At: t.History.Now(), Kind: "unhealed", Text: err.Error()})
		return err
	}
	if s.Quiet > 0 {
		// The healing counts as quiet only in part: clients see the cluster recover.
		pause(ctx, time.Duration(float64(hold)*s.Quiet/(1-s.Quiet)))
	}
	return nil
}

// heal undoes faults, the last one first, and waits until the cluster is whole, unless it is known that it never will be.
func heal(ctx context.Context, t *Target, undo []func(context.Context) error, running []history.Fault, damaged bool, lost error) error {
	errs := []error{lost}
	for _, f := range slices.Backward(undo) {
		errs = append(errs, f(ctx))
	}
	end := t.History.Now()
	var replaced []string
	if lost == nil {
		var err error
		replaced, err = t.Cluster.Heal(ctx)
		errs = append(errs, err)
	}
	if len(replaced) > 0 && !damaged {
		errs = append(errs, fmt.Errorf("data were lost at %s, whose disks were sound", strings.Join(replaced, ", ")))
	}
	for _, f := range running {
		f.End = end
		if len(replaced) > 0 {
			f.Detail = strings.TrimSpace(f.Detail + " replaced afterwards: " + strings.Join(replaced, ", "))
		}
		t.History.Fault(f)
	}
	return errors.Join(errs...)
}

func names(faults []history.Fault) string {
	var out []string
	for _, f := range faults {
		out = append(out, f.Name)
	}
	return strings.Join(out, " and ")
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
