package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/store"
)

func (w *world) want(voters ...cluster.ServerID) {
	w.t.Helper()
	got := w.voters()
	slices.Sort(got)
	if !slices.Equal(got, voters) {
		w.t.Errorf("voters %v, want %v; after %q", got, voters, w.steps)
	}
	if len(w.record.TargetVoters) > 0 {
		w.t.Errorf("the change to %v is still under way after %q", w.record.TargetVoters, w.steps)
	}
}

// remove asks as the command line does, again and again.
func (w *world) remove(at, id cluster.ServerID) (Progress, error) {
	w.t.Helper()
	var p Progress
	for range 10 {
		var err error
		if p, err = w.manager(at).Remove(context.Background(), id); err != nil || p.Done {
			return p, err
		}
		if err := w.settle(); errors.Is(err, errDied) {
			return p, err
		}
		w.manager(w.leader).quick()
	}
	return p, nil
}

func TestMemberThatIsWholeGetsItsVote(t *testing.T) {
	w := newWorld(t, "a")
	w.add("b", false)
	w.lagging["b"], w.missing["b"] = true, 3
	if err := w.settle(); err == nil || !strings.Contains(err.Error(), "it is behind") {
		t.Errorf("a member that is behind: %v", err)
	}
	w.lagging["b"] = false
	if err := w.settle(); err == nil || !strings.Contains(err.Error(), "name-b (b) lacks 3 messages") {
		t.Errorf("a member that lacks bodies: %v", err)
	}
	waits, err := w.manager("a").Waits(context.Background())
	if err != nil || !strings.Contains(waits["b"], "lacks 3 messages") {
		t.Errorf("status would say %v %v", waits, err)
	}
	w.want("a")
	w.missing["b"] = 0
	w.manager("a").quick()
	if err := w.settle(); err != nil {
		t.Error(err)
	}
	w.want("a", "b")
	if want := []string{"begin", "raft vote b", "end"}; !slices.Equal(w.steps, want) {
		t.Errorf("steps %q, want %q", w.steps, want)
	}
}

func TestB4RemovalWaitsUntilTheRestIsWhole(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.missing["b"] = 5
	p, err := w.remove("b", "c")
	if err != nil || p.Done || !strings.Contains(p.Waiting, "name-b (b) lacks 5 messages") {
		t.Errorf("a removal that would leave bodies on one of two: %+v %v", p, err)
	}
	w.want("a", "b", "c")
	if len(w.steps) > 0 {
		t.Errorf("something was done: %q", w.steps)
	}
	w.missing["b"] = -1
	if p, err = w.remove("b", "c"); err != nil || p.Done || !strings.Contains(p.Waiting, "does not answer") {
		t.Errorf("a removal while one of the rest does not answer: %+v %v", p, err)
	}
	w.missing["b"] = 0
	w.manager("a").quick()
	if p, err = w.remove("b", "c"); err != nil || !p.Done {
		t.Errorf("a removal that may be: %+v %v", p, err)
	}
	w.want("a", "b")
	if want := []string{"begin", "mark c", "raft remove c", "end"}; !slices.Equal(w.steps, want) {
		t.Errorf("steps %q, want %q", w.steps, want)
	}
}

// Bodies that no member holds do not keep the cluster from replacing its nodes. As long as somebody may hold them, they count.
func TestBodiesThatAreNowhereDoNotCount(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	x, y := store.BodyID{1}, store.BodyID{2}
	w.named["a"], w.named["b"], w.named["c"] = []store.BodyID{x}, []store.BodyID{x, y}, []store.BodyID{x}
	if p, err := w.remove("a", "c"); err != nil || p.Done || !strings.Contains(p.Waiting, "name-b (b) lacks 1 messages") {
		t.Errorf("a and c hold y, b does not: %+v %v", p, err)
	}
	w.named["b"], w.named["c"] = []store.BodyID{x}, nil
	w.manager("a").quick()
	if p, err := w.remove("a", "c"); err != nil || p.Done || !strings.Contains(p.Waiting, "name-a (a) lacks 1 messages") {
		t.Errorf("the only holder of x is to go: %+v %v", p, err)
	}
	w.missing["c"] = -1
	w.manager("a").quick()
	if p, err := w.remove("a", "c"); err != nil || p.Done {
		t.Errorf("who is to go may hold x, and does not answer: %+v %v", p, err)
	}
	w.want("a", "b", "c")
	w.missing["c"], w.named["c"] = 0, []store.BodyID{x}
	w.manager("a").quick()
	if p, err := w.remove("a", "c"); err != nil || !p.Done {
		t.Errorf("nobody holds x: %+v %v", p, err)
	}
	w.want("a", "b")
}

// One of four that lacks bodies does not matter: the other three are a majority, and whole.
func TestB4RemovalNeedsAMajorityOfTheRest(t *testing.T) {
	w := newWorld(t, "a", "b", "c", "d", "e")
	w.missing["d"], w.missing["e"] = 9, -1
	if p, err := w.remove("a", "e"); err != nil || !p.Done {
		t.Errorf("%+v %v", p, err)
	}
	w.want("a", "b", "c", "d")
}

// The scan that counts is the one after the command, from which on new bodies are on a majority of both sets.
func TestB4ScanAfterTheCommandDecides(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	if _, err := w.manager("a").Remove(context.Background(), "c"); err != nil {
		t.Fatal(err)
	}
	m := w.manager("a")
	if err := m.leaderStep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(w.steps, []string{"begin"}) {
		t.Fatalf("steps %q", w.steps)
	}
	w.missing["b"] = 1 // a body came between the first look and the command
	if err := m.leaderStep(context.Background()); err == nil || !strings.Contains(err.Error(), "lacks 1 messages") {
		t.Errorf("the change went on: %v", err)
	}
	w.mu.Lock()
	if len(votersOf(w.config)) != 3 {
		t.Error("the member is gone")
	}
	w.mu.Unlock()
	// It never becomes whole: the change is given up, so that new mail needs no more than before.
	deadline := time.Now().Add(20 * time.Second)
	for len(w.record.TargetVoters) > 0 && time.Now().Before(deadline) {
		m.quick()
		_ = m.leaderStep(context.Background())
	}
	w.want("a", "b", "c")
}

// At whatever step the leader dies, the next one brings the change to its end, or back, and at no moment does the configuration jump.
func TestB4EveryStepSurvivesAChangeOfLeader(t *testing.T) {
	for _, c := range []struct {
		name string
		dies []string
		do   func(w *world) error
		want []cluster.ServerID
	}{
		{"promotion", []string{"begin", "raft vote d", "end"}, func(w *world) error { w.add("d", false); return w.settle() }, []cluster.ServerID{"a", "b", "c", "d"}},
		{"removal", []string{"begin", "mark c", "raft remove c", "end"}, func(w *world) error { _, err := w.remove("a", "c"); return err }, []cluster.ServerID{"a", "b"}},
	} {
		for _, dies := range c.dies {
			t.Run(fmt.Sprintf("%s dies at %s", c.name, dies), func(t *testing.T) {
				w := newWorld(t, "a", "b", "c")
				w.inForce = func(from, to []cluster.ServerID) {
					if len(minus(from, to))+len(minus(to, from)) > 1 {
						t.Errorf("from %v to %v at once", from, to)
					}
					if len(w.record.TargetVoters) == 0 {
						t.Error("Raft's configuration changes without a command that says so")
					}
				}
				w.dies = dies
				if err := c.do(w); !errors.Is(err, errDied) {
					t.Fatalf("it did not die: %v, %q", err, w.steps)
				}
				w.lead("b")
				if err := w.settle(); err != nil {
					t.Fatal(err)
				}
				if c.name == "removal" {
					if p, err := w.remove("b", "c"); err != nil || !p.Done { // the administrator's command goes on asking
						t.Fatalf("%+v %v", p, err)
					}
				}
				w.want(c.want...)
			})
		}
	}
}

// A removal that was marked in the state is never given up: the server's word counts no more.
func TestB4MarkedRemovalIsFinished(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.dies = "raft remove c"
	if _, err := w.remove("a", "c"); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	w.lead("b")
	w.missing["b"] = 1
	for range 5 {
		_ = w.settle()
		w.manager("b").quick()
		time.Sleep(10 * time.Millisecond) // lets the time to give up pass
	}
	if len(w.record.TargetVoters) == 0 {
		t.Fatal("it was given up")
	}
	w.missing["b"] = 0
	w.manager("b").quick()
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	w.want("a", "b")
}

func TestLeaderIsRemovedByTheNextLeader(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	if p, err := w.remove("b", "a"); err != nil || !p.Done {
		t.Errorf("%+v %v", p, err)
	}
	w.want("b", "c")
	if w.leader == "a" {
		t.Error("the removed node leads")
	}
}

func TestWhatCannotBeRemoved(t *testing.T) {
	w := newWorld(t, "a")
	if _, err := w.remove("a", "a"); !errors.Is(err, store.ErrConflict) {
		t.Errorf("the last voter: %v", err)
	}
	if _, err := w.remove("a", "x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a node that there is not: %v", err)
	}
	w.leader = ""
	if _, err := w.manager("a").Remove(context.Background(), "a"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without a leader: %v", err)
	}
}

func TestMemberWithoutAVoteIsRemovedAtOnce(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.add("d", false)
	w.lagging["d"], w.missing["b"] = true, 7
	if p, err := w.remove("a", "d"); err != nil || !p.Done {
		t.Errorf("%+v %v", p, err)
	}
	if _, member := (snapshot{config: w.config}).member("d"); member {
		t.Error("it is still a member")
	}
	// One that was invited and never came.
	w.servers["e"] = w.servers["d"]
	delete(w.servers, "d")
	w.servers["e"].Id, w.servers["e"].Removed = "e", false
	if p, err := w.remove("a", "e"); err != nil || !p.Done {
		t.Errorf("%+v %v", p, err)
	}
}

// Nobody is removed without an administrator's word, however long it is gone.
func TestNobodyIsRemovedByItself(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.missing["c"] = -1
	w.lagging["c"] = true
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	w.want("a", "b", "c")
}

func TestWishThatNobodyRepeatsIsForgotten(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.missing["b"] = 1
	if _, err := w.manager("a").Remove(context.Background(), "c"); err != nil {
		t.Fatal(err)
	}
	m := w.manager("a")
	m.mu.Lock()
	m.asked["c"] = time.Now().Add(-2 * askedFor)
	m.mu.Unlock()
	w.missing["b"] = 0
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	w.want("a", "b", "c")
}

func TestNewAddressIsNoted(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.servers["b"].Address = "elsewhere"
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	if x, _ := (snapshot{config: w.config}).member("b"); x.Address != "elsewhere" || !x.Voter {
		t.Errorf("%+v", x)
	}
}

func TestVersionIsRaisedWhenEveryMemberCan(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	for _, id := range []cluster.ServerID{"a", "b"} {
		w.servers[id].MaxVersion = 3
	}
	if err := w.settle(); err != nil || w.record.Version != 1 {
		t.Errorf("one member cannot: version %d, %v", w.record.Version, err)
	}
	w.servers["c"].MaxVersion = 2
	m := w.manager("a")
	m.cfg.RaiseAfter = time.Hour
	if err := w.settle(); err != nil || w.record.Version != 1 {
		t.Errorf("they could just now: version %d, %v", w.record.Version, err)
	}
	m.mu.Lock()
	m.since = m.since.Add(-2 * time.Hour)
	m.mu.Unlock()
	if err := w.settle(); err != nil || w.record.Version != 2 {
		t.Errorf("version %d, %v", w.record.Version, err)
	}
	// A member that never said who it is holds it up; it may be an old one.
	w.add("d", false)
	w.lagging["d"] = true
	delete(w.servers, "d")
	w.servers["c"].MaxVersion = 3
	m.cfg.RaiseAfter = time.Nanosecond
	_ = w.settle()
	if w.record.Version != 2 {
		t.Error("raised although one member is unknown")
	}
}
