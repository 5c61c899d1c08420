package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/disk/faultfs"
)

// TestPowerLossOfOneNode cuts the power of nodes that stand alone: what was acknowledged is there, once, and nothing is half. 76 crashes,
// 700 with QUORUMAIL_SOAK=1.
func TestPowerLossOfOneNode(t *testing.T) {
	crashes, machines := 76, 4
	if soak() {
		crashes = 700
	}
	seed := seedOf(t)
	for i := range machines {
		// Starting is mostly waiting: several machines share the processors.
		t.Run(fmt.Sprint("machine ", i), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, seed+uint64(i), []string{"wal", "bolt"}[i%2], 1, 2)
			p := newPlug(r, seed+uint64(i))
			for range (crashes + machines - 1) / machines {
				if p.round(r.nodes); t.Failed() {
					return
				}
			}
			p.end()
		})
	}
}

// TestPowerLossOfThreeNodes cuts the power of one node, of two, or of all three at once. 24 rounds, 300 with QUORUMAIL_SOAK=1.
func TestPowerLossOfThreeNodes(t *testing.T) {
	t.Parallel()
	rounds := 24
	if soak() {
		rounds = 300
	}
	seed := seedOf(t)
	r := newRig(t, seed, "wal", 3, 3)
	p := newPlug(r, seed)
	for range rounds {
		victims := r.nodes
		if k := p.r.IntN(5); k < 3 {
			victims = r.nodes[k : k+1]
		} else if k == 3 {
			victims = r.nodes[1:]
		}
		if p.round(victims); t.Failed() {
			return
		}
	}
	p.end()
}

// plug pulls the plug while writers write.
type plug struct {
	rig     *rig
	r       *rand.Rand
	writers []*writer
	crashes int
	early   int // of them, before the node served again
	kept    int
	lost    int
}

func newPlug(r *rig, seed uint64) *plug {
	p := &plug{rig: r, r: rand.New(rand.NewPCG(seed, 1))}
	for i, a := range r.accounts {
		p.writers = append(p.writers, newWriter(a, rand.New(rand.NewPCG(seed, 100+uint64(i)))))
	}
	return p
}

// round lets the writers write, cuts the power of some nodes at a random moment, boots them, and verifies.
func (p *plug) round(victims []*rigNode) {
	p.rig.t.Helper()
	moment := time.After(time.Duration(20+p.r.IntN(350)) * time.Millisecond)
	cut := make(chan struct{})
	var wg sync.WaitGroup
	for i, w := range p.writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			// The writer goes on until its node dies: what is under way then is what a crash is about.
			err := w.run(p.rig.nodes[(i+p.crashes)%len(p.rig.nodes)], cut)
			if err != nil {
				p.rig.t.Errorf("before the crash: %v", err)
			}
		}()
	}
	<-moment
	close(cut)
	p.cut(victims)
	wg.Wait()
	for _, n := range victims {
		n.start()
	}
	if p.r.IntN(6) == 0 {
		p.cutEarly(victims)
	}
	for _, n := range p.rig.nodes {
		n.ready()
	}
	for i, w := range p.writers {
		if err := w.verify(p.rig.nodes[(i+p.crashes)%len(p.rig.nodes)], false); err != nil {
			p.rig.t.Errorf("after crash %d: %v", p.crashes, err)
		}
	}
	p.rig.check()
}

func (p *plug) cut(victims []*rigNode) {
	for _, n := range victims {
		_ = n.cmd.Process.Kill() // all at once; it may have stopped itself
	}
	for _, n := range victims {
		n.kill()
		keep, loss := n.powerLoss()
		p.rig.t.Logf("crash %d: %s keeps %v: %d changes survive, %d do not", p.crashes, n.name, keep, loss.Kept, loss.Lost)
		p.kept += loss.Kept
		p.lost += loss.Lost
	}
	p.crashes++
}

// cutEarly cuts the power again while the nodes recover.
func (p *plug) cutEarly(victims []*rigNode) {
	// The moment is random: nothing is waited for.
	time.Sleep(time.Duration(p.r.IntN(300)) * time.Millisecond)
	p.early++
	p.cut(victims)
	for _, n := range victims {
		n.start()
	}
}

// end reads everything at every node.
func (p *plug) end() {
	p.rig.t.Helper()
	acked := 0
	for _, w := range p.writers {
		acked += w.acked
		for _, n := range p.rig.nodes {
			if err := w.verify(n, true); err != nil {
				p.rig.t.Errorf("at the end: %v", err)
			}
		}
	}
	p.rig.t.Logf("%d crashes (%d during recovery), %d things acknowledged; of the unsynced changes %d survived, %d did not", p.crashes, p.early, acked, p.kept, p.lost)
	if p.lost == 0 || acked == 0 {
		p.rig.t.Error("nothing was acknowledged or nothing was forgotten: the test proves nothing")
	}
}

// TestPowerLossIsNoticed makes a disk lie about every fsync: if the tests above could not tell, they would prove nothing.
func TestPowerLossIsNoticed(t *testing.T) {
	t.Parallel()
	seed := seedOf(t)
	r := newRig(t, seed, "wal", 1, 1)
	w := newWriter(r.accounts[0], rand.New(rand.NewPCG(seed, 2)))
	n := r.nodes[0]
	n.stop()
	if err := n.disk.Unmount(); err != nil { // what came before is safe
		t.Fatal(err)
	}
	n.mount()
	if _, err := n.disk.Inject(faultfs.Rule{Op: "fsync|fsyncdir", Lie: true}); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.ready()
	cut := make(chan struct{})
	close(cut)
	if err := w.run(n, cut); err != nil || w.acked == 0 {
		t.Fatalf("%d things were acknowledged, %v", w.acked, err)
	}
	n.kill()
	if _, err := n.disk.Crash(faultfs.KeepNone); err != nil {
		t.Fatal(err)
	}
	n.mount()
	n.start()
	n.ready()
	if err := w.verify(n, true); err == nil {
		t.Errorf("%d things were acknowledged on a disk that lost all of them, and nobody noticed", w.acked)
	} else {
		t.Logf("noticed, as it should be: %v", err)
	}
}
