package state

import (
	"crypto/sha256"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func hashOf(secret string) []byte { h := sha256.Sum256([]byte(secret)); return h[:] }

func invited(secret, server string) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_ConsumeInvite{ConsumeInvite: &storepb.ConsumeInvite{SecretHash: hashOf(secret), Server: server,
		Record: &storepb.Server{Id: server, Name: server, DataIncarnation: disk(server)}}}}
}

// The time since a moment counts once, whoever tells it how often: an attempt without an answer is told again, and so by a new leader.
func TestTickCountsItsTimeOnce(t *testing.T) {
	b := newBench(t, "")
	tick := func(from uint64) error {
		_, err := b.try(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: 1000, From: &from}}})
		return err
	}
	if err := errors.Join(tick(0), tick(1000)); err != nil {
		t.Fatal(err)
	}
	if err := tick(1000); !errors.Is(err, store.ErrConflict) {
		t.Errorf("the same second again: %v", err)
	}
	v := b.View()
	defer v.Close()
	if c, err := v.Cluster(); err != nil || c.TicksMs != 2000 {
		t.Errorf("%d ms, %v", c.TicksMs, err)
	}
}

func TestInviteIsGoodOnceAndNotForLong(t *testing.T) {
	b := newBench(t, "")
	invite := func(secret string, expires uint64) {
		b.do(&storepb.Command{Op: &storepb.Command_PutInvite{PutInvite: &storepb.PutInvite{SecretHash: hashOf(secret), ExpiresTick: expires}}})
	}
	tick := func(ms uint64) { b.do(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: ms}}}) }
	if _, err := b.try(invited("s1", "x")); !errors.Is(err, store.ErrDenied) {
		t.Errorf("an unknown secret: %v", err)
	}
	invite("s1", 1000)
	invite("s2", 1000)
	b.do(invited("s1", "x"))
	b.do(invited("s1", "x")) // it may ask again
	if _, err := b.try(invited("s1", "y")); !errors.Is(err, store.ErrDenied) {
		t.Errorf("used by another: %v", err)
	}
	tick(1001)
	if _, err := b.try(invited("s2", "y")); !errors.Is(err, store.ErrDenied) {
		t.Errorf("expired: %v", err)
	}
	b.do(invited("s1", "x")) // who used it in time may have crashed since, before it was a member
}

// An invite that is shown again, by a copy of the node's request that was under way when it had registered, changes nothing of what it said.
func TestInviteShownAgainKeepsWhatTheNodeSaid(t *testing.T) {
	b := newBench(t, "")
	b.do(&storepb.Command{Op: &storepb.Command_PutInvite{PutInvite: &storepb.PutInvite{SecretHash: hashOf("s1"), ExpiresTick: 1000}}})
	show := func(name, address string, version uint32) *storepb.Server {
		t.Helper()
		c := invited("s1", "x")
		r := c.GetConsumeInvite().Record
		r.Name, r.Address, r.MaxVersion = name, address, version
		b.do(c)
		v := b.View()
		defer v.Close()
		got, err := v.Server("x")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := show("ex", "ex:1", 4); got.MaxVersion != 4 || got.Address != "ex:1" || got.Boot != 0 {
		t.Errorf("first it is registered as %v", got)
	}
	if got := show("ex", "ex:2", 7); got.MaxVersion != 4 || got.Address != "ex:2" {
		t.Errorf("asked again from elsewhere: %v", got)
	}
	own := &storepb.Server{Id: "x", Name: "exx", Address: "ex:3", DataIncarnation: disk("x"), MaxVersion: 5, Boot: 2}
	b.do(&storepb.Command{Op: &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: own}}})
	if got := show("ex", "ex:1", 9); !proto.Equal(got, own) {
		t.Errorf("after it registered as %v it is %v", own, got)
	}
	c := invited("s1", "x")
	c.GetConsumeInvite().Record.DataIncarnation = disk("y")
	if _, err := b.try(c); !errors.Is(err, store.ErrConflict) {
		t.Errorf("with other data: %v", err)
	}
}

// What is asked beforehand is what ConsumeInvite decides by.
func TestInviteServesAsItWouldBeConsumed(t *testing.T) {
	b := newBench(t, "")
	serves := func(secret, server string, want bool) {
		t.Helper()
		v := b.View()
		defer v.Close()
		if got, err := v.InviteServes([32]byte(hashOf(secret)), server); err != nil || got != want {
			t.Errorf("%s for %s: %v, %v", secret, server, got, err)
		}
	}
	serves("s1", "x", false)
	for _, s := range []string{"s1", "s2"} {
		b.do(&storepb.Command{Op: &storepb.Command_PutInvite{PutInvite: &storepb.PutInvite{SecretHash: hashOf(s), ExpiresTick: 1000}}})
		serves(s, "x", true)
	}
	b.do(invited("s1", "x"))
	serves("s1", "x", true)
	serves("s1", "y", false)
	b.do(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: 1000}}})
	serves("s2", "y", true)
	b.do(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: 1001}}})
	serves("s2", "y", false)
	serves("s1", "x", true)
}

// B5: a voter is marked as removed only within a change of the voters that leaves it out, and from then on its word counts no more, although
// Raft has not let it go yet.
func TestB5VoterIsMarkedBeforeItLeaves(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	remove := &storepb.Command{Op: &storepb.Command_RemoveServer{RemoveServer: &storepb.RemoveServer{Id: "c"}}}
	if _, err := b.try(remove); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a voter, without a change of the voters: %v", err)
	}
	change := func(end bool, voters ...string) {
		b.do(&storepb.Command{Op: &storepb.Command_Reconfigure{Reconfigure: &storepb.Reconfigure{Id: 1, TargetVoters: voters, End: end}}})
	}
	change(false, "a", "c")
	if _, err := b.try(remove); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a voter that is to stay: %v", err)
	}
	change(true)
	b.do(&storepb.Command{Op: &storepb.Command_Reconfigure{Reconfigure: &storepb.Reconfigure{Id: 2, TargetVoters: []string{"a", "b"}}}})
	b.do(remove)
	if _, err := b.try(add(b.beside("a", "c"), an)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("its word counts: %v", err)
	}
	b.do(add(b.beside("a", "b"), an))
	b.do(remove) // again, for what was noted of it since
}
