package state

import (
	"crypto/sha256"
	"errors"
	"testing"

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
