package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/cluster/transport"
	"github.com/quorumail/quorumail/store"
)

// The larger part of a cluster takes mail, the smaller one takes none, wherever the leader was; afterwards all show the same. B1: what
// carries a body is not accepted where no majority can hold it, and when it travels beside the log, it is never even proposed there.
func TestB1PartitionedStackTakesMailOnOneSideOnly(t *testing.T) {
	inStack(t, 5, 65536, func(t *testing.T, s *stack) {
		all, larger, smaller := []string{"n1", "n2", "n3", "n4", "n5"}, []string{"n1", "n2", "n3"}, []string{"n4", "n5"}
		for _, leader := range []string{"n4", "n1"} {
			s.lead(leader)
			stop := s.load(2, all...)
			time.Sleep(3 * time.Second) // how long the load runs, by the bubble's clock
			s.split("", smaller...)
			before, _, _ := s.ledger.count()
			for _, name := range smaller {
				for _, size := range []int{besideRaw, inlineRaw, besideRaw} {
					m := s.add(name, size)
					if m.acked() {
						t.Errorf("%s, without a majority, takes a message of %d bytes", name, size)
					}
					if !m.inline && !m.denied() {
						t.Errorf("%s, without a majority, does not refuse a body for certain: %v", name, m.err)
					}
				}
			}
			s.until("the larger side takes mail", func() bool {
				return !slices.ContainsFunc(larger, func(name string) bool { return !s.add(name, besideRaw).acked() || !s.add(name, inlineRaw).acked() })
			})
			time.Sleep(5 * time.Second) // the load goes on
			s.net.Heal()
			time.Sleep(3 * time.Second) // and on
			stop()
			if after, denied, _ := s.ledger.count(); after <= before || denied == 0 {
				t.Errorf("%d messages were acknowledged before the partition and %d in all, %d refused", before, after, denied)
			}
			s.check()
		}
		acked, denied, unknown := s.ledger.count()
		t.Logf("%d acknowledged, %d refused, %d unknown", acked, denied, unknown)
	})
}

// B3: a node that was away for longer than the logs of the others reach gets their state, which holds no bodies, and then brings all of
// them, those that travelled inside commands too.
func TestB3StackThatWasAwayTakesACheckpoint(t *testing.T) {
	inStack(t, 3, 16, func(t *testing.T, s *stack) {
		s.mustAdd("n1", 10)
		s.check()
		s.lead("n1")
		away := s.node("n3").up()
		at, generation := away.machine.Position().Index, away.machine.Generation()
		s.split("", "n3")
		s.mustAdd("n2", 160)
		for _, name := range []string{"n1", "n2"} {
			s.until("the log of "+name+" no longer reaches back", func() bool {
				_, err := s.node(name).up().cluster.Command(at + 1)
				return err != nil
			})
		}
		s.net.Heal()
		s.split(transport.ProtoBulk, "n3") // bodies do not pass yet
		s.until("the node that was away has another state", func() bool { return away.machine.Generation() > generation })
		if n, err := away.replica.ToFetch(1000); err != nil || n < 140 { // some were on their way
			t.Errorf("it says that it has to bring %d bodies, %v", n, err)
		}
		s.net.Heal()
		s.until("it believes that it has brought them", func() bool {
			n, err := away.replica.ToFetch(1)
			return err == nil && n == 0 && !away.machine.NeedsAllBodies()
		})
		if n := s.lacks(away); n > 0 {
			t.Errorf("it lacks %d bodies and does not know", n)
		}
		s.check()
		if s.node("n3").up() != away || away.why() != nil {
			t.Errorf("the node did not live through it: %v", away.why())
		}
		// It serves, and votes: with it and one other the cluster goes on.
		s.node("n1").crash(100)
		s.until("it takes mail", func() bool { return s.add("n3", besideRaw).acked() })
		if err := s.node("n1").start(nil); err != nil {
			t.Fatal(err)
		}
		s.check()
	})
}

// B5: who lost its disk does not come back under its old id. B4: who takes its place does not vote as long as it lacks bodies.
func TestB4ReplacedStackVotesWhenItHoldsEveryBody(t *testing.T) {
	inStack(t, 3, 65536, func(t *testing.T, s *stack) {
		s.mustAdd("n1", 30)
		s.check()
		s.lead("n1")
		old := s.node("n3")
		old.crash(0)
		if err := old.fs.RemoveAll(old.dataDir() + "/raft"); err != nil {
			t.Fatal(err)
		}
		if err := old.start(nil); err == nil {
			t.Fatal("a node that lost its log starts")
		}
		s.mustAdd("n1", 4) // without it
		// With another data folder under the same id, it finds out when it says who it is.
		old.fs, old.id.DataIncarnation = vfs.NewCrashableMem(), randomHex(16)
		if err := old.start(nil); err != nil {
			t.Fatal(err)
		}
		s.until("it ends itself", func() bool { return old.up().why() != nil })
		if why := old.up().why(); !strings.Contains(why.Error(), "register this node") {
			t.Errorf("it ended for another reason: %v", why)
		}
		old.crash(0)
		s.until("it is removed", func() bool {
			p, err := s.node("n1").up().members.Remove(t.Context(), old.id.ID)
			return err == nil && p.Done
		})
		s.nodes = slices.DeleteFunc(s.nodes, func(p *stackNode) bool { return p == old })
		s.mustAdd("n2", 6)
		anew := s.join("n4", func(*stackNode) { s.split(transport.ProtoBulk, "n4") })
		s.until("the leader asks it for its bodies", func() bool {
			n, _, err := s.node("n1").up().replica.MissingAt(t.Context(), store.ServerID(anew.id.ID))
			return err == nil && n == 40
		})
		time.Sleep(30 * time.Second) // by the bubble's clock: long enough for any promotion
		if anew.votes(s.node("n1").up()) {
			t.Error("a node votes that lacks all bodies")
		}
		waits, err := s.node("n1").up().members.Waits(t.Context())
		if err != nil || waits[anew.id.ID] == "" {
			t.Errorf("nobody says why it does not vote: %v, %v", waits, err)
		}
		s.net.Heal()
		s.until("it votes", func() bool { return anew.votes(s.node("n1").up()) })
		if !s.whole("n4") {
			t.Error("it votes and is not whole")
		}
		s.mustAdd("n4", 4)
		s.check()
	})
}

// The power goes at all nodes at once, while they take mail. What was not synced is gone, what was acknowledged is not.
func TestStackThatLostPowerEverywhereLosesNoMail(t *testing.T) {
	inStack(t, 3, 256, func(t *testing.T, s *stack) {
		all := []string{"n1", "n2", "n3"}
		s.net.Slow(15*time.Millisecond, 10*time.Millisecond, 0, 0) // so that something is always under way
		rounds := []struct{ keep, besideEvery int }{{0, 2}, {50, 6}, {90, 0}, {90, 0}, {85, 0}, {90, 0}, {85, 0}, {0, 0}}
		for round, of := range rounds {
			stop := s.load(of.besideEvery, all...)
			time.Sleep(time.Duration(4+s.rng.IntN(4)) * time.Second) // how long the load runs
			for _, name := range all {
				s.net.PowerOff(name)
			}
			for _, name := range all {
				s.node(name).crash(of.keep)
			}
			stop()
			for _, name := range all {
				if err := s.node(name).start(nil); err != nil {
					t.Fatalf("round %d: start %s: %v", round, name, err)
				}
			}
			s.check()
		}
		acked, denied, unknown := s.ledger.count()
		if acked == 0 || unknown == 0 {
			t.Error("the power went when nothing was under way")
		}
		t.Logf("%d acknowledged, %d refused, %d unknown; %d inline bodies were put again", acked, denied, unknown, s.again)
	})
}

// Everything breaks in a random order, while mail comes in at all nodes: links, also those for bodies alone, and the power of some nodes or
// of all. Logs are short, so that who was away gets checkpoints. QUORUMAIL_SOAK=1 makes it long.
func TestStackUnderRandomFaults(t *testing.T) {
	runs, steps := 3, 20
	if soak() {
		runs, steps = 100, 60
	}
	for range runs {
		inStack(t, 3, 16, func(t *testing.T, s *stack) {
			s.net.Slow(5*time.Millisecond, 10*time.Millisecond, 0, 0)
			for range steps / 5 {
				stop := s.load(6, "n1", "n2", "n3")
				for range 5 {
					s.breakSomething()
					time.Sleep(time.Duration(1+s.rng.IntN(8)) * time.Second) // how long that lasts
					s.revive()
				}
				stop()
				s.net.Heal()
				s.check()
			}
			acked, denied, unknown := s.ledger.count()
			if acked == 0 {
				t.Error("no message was acknowledged")
			}
			t.Logf("%d acknowledged, %d refused, %d unknown; %d checkpoints; %d inline bodies were put again", acked, denied, unknown, s.checkpoints, s.again)
		})
		if t.Failed() {
			return
		}
	}
}

// breakSomething does one thing to the cluster.
func (s *stack) breakSomething() {
	some := func() (names []string) {
		for _, i := range s.rng.Perm(len(s.nodes))[:1+s.rng.IntN(len(s.nodes)-1)] {
			names = append(names, s.nodes[i].name)
		}
		return names
	}
	what := s.rng.IntN(7)
	names := some()
	s.t.Logf("fault %d at %v", what, names)
	switch what {
	case 0, 1:
		s.split("", names...)
	case 2:
		s.split(transport.ProtoBulk, names...)
	case 3:
		s.net.Heal()
	case 4, 5:
		s.lose(names...)
	case 6:
		s.lose("n1", "n2", "n3")
	}
}

// lose takes the power of nodes, all at the same moment.
func (s *stack) lose(names ...string) {
	for _, name := range names {
		s.net.PowerOff(name)
	}
	for _, name := range names {
		s.node(name).crash([]int{0, 0, 50, 100}[s.rng.IntN(4)])
	}
}

// revive starts what does not run, also what ended itself because it has to start again after a checkpoint.
func (s *stack) revive() {
	s.t.Helper()
	for _, p := range s.nodes {
		u := p.up()
		if u != nil {
			s.checkpoints += int(u.machine.Generation()) - u.counted
			u.counted = int(u.machine.Generation())
			if why := u.why(); why == nil || !strings.Contains(why.Error(), "must start again") {
				continue // close tells of any other
			}
			p.crash(100)
		}
		if err := p.start(nil); err != nil {
			s.t.Fatalf("start %s again: %v", p.name, err)
		}
	}
}
