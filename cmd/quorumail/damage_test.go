package main

import (
	"errors"
	"math/rand/v2"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/quorumail/quorumail/jepsen/disk/faultfs"
	"github.com/quorumail/quorumail/ops/admin"
)

// hurt is a cluster of three whose third node will be hurt, with mail in one account.
type hurt struct {
	*rig
	w      *writer
	victim *rigNode
	r      *rand.Rand
}

func newHurt(t *testing.T, logStore string) *hurt {
	t.Helper()
	seed := seedOf(t)
	h := &hurt{rig: newRig(t, seed, logStore, 3, 1), r: rand.New(rand.NewPCG(seed, 7))}
	h.w = newWriter(h.accounts[0], rand.New(rand.NewPCG(seed, 100)))
	h.victim = h.nodes[2]
	h.write(h.nodes[0], 40)
	return h
}

// write lets the writer do n things at a node that works.
func (h *hurt) write(at *rigNode, n int) {
	h.t.Helper()
	c, err := dialIMAP(at.imap(), h.w.account)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		h.t.Fatal(err)
	}
	for range n {
		if err := h.w.step(at, c); err != nil {
			h.t.Fatalf("%s: %v", h.w.what, err)
		}
	}
}

// verify reads everything at every node.
func (h *hurt) verify() {
	h.t.Helper()
	for _, n := range h.nodes {
		if err := h.w.verify(n, true); err != nil {
			h.t.Error(err)
		}
	}
	h.check()
}

// offline stops the victim, lets f change what its disk holds, and starts it again.
func (h *hurt) offline(f func(dir string)) {
	h.t.Helper()
	h.victim.stop()
	h.change(f)
	h.victim.start()
}

// change lets f change what the disk of the victim, which is down, holds.
func (h *hurt) change(f func(dir string)) {
	h.t.Helper()
	if err := h.victim.disk.Unmount(); err != nil {
		h.t.Fatal(err)
	}
	f(faultfs.Content(h.victim.back()))
	h.victim.mount()
}

// ended waits until the victim has ended by itself, and returns the end of its log.
func (h *hurt) ended(what string) string {
	h.t.Helper()
	select {
	case <-h.victim.exited:
		return h.victim.tail()
	case <-time.After(60 * time.Second):
		h.t.Fatalf("%s: the node goes on; the end of its log:\n%s", what, h.victim.tail())
	}
	return ""
}

func TestFailingDiskEndsTheNode(t *testing.T) {
	for _, tc := range []struct {
		name string
		rule faultfs.Rule
	}{
		{"fsync of the log", faultfs.Rule{Op: "fsync", Path: "^/raft/", Errno: syscall.EIO, Forget: true}},
		{"write of the log", faultfs.Rule{Op: "write", Path: "^/raft/", Errno: syscall.EIO, Short: true}},
		{"fsync of the state", faultfs.Rule{Op: "fsync", Path: "^/state/", Errno: syscall.EIO, Forget: true}},
		{"fsync of the bodies", faultfs.Rule{Op: "fsync", Path: "^/blobs/", Errno: syscall.EIO, Forget: true}},
		{"no space", faultfs.Rule{Op: "write|create", Errno: syscall.ENOSPC}},
		{"the log hangs", faultfs.Rule{Op: "fsync", Path: "^/raft/", Delay: 8 * time.Second, Times: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := newHurt(t, "wal")
			// The node that is hurt leads: the others must take over.
			for i, n := range h.nodes {
				var st admin.Status
				if err := n.call("status", admin.Empty{}, &st); err != nil {
					t.Fatal(err)
				}
				if st.State == "leader" {
					h.victim = h.nodes[i]
				}
			}
			if _, err := h.victim.disk.Inject(tc.rule); err != nil {
				t.Fatal(err)
			}
			survivor := h.nodes[0]
			if h.victim == survivor {
				survivor = h.nodes[1]
			}
			recovers(t, "the rest", func() error {
				return deliver(survivor.smtp(), "x@example.net", "u0@example.test", simpleMessage("meanwhile"))
			})
			if err := h.w.resync(survivor); err != nil {
				t.Fatal(err)
			}
			// Log, state and bodies are all written to, until the fault has shown.
			for deadline := time.Now().Add(60 * time.Second); ; {
				h.write(survivor, 10)
				select {
				case <-h.victim.exited:
				default:
					if time.Now().Before(deadline) {
						continue
					}
				}
				break
			}
			t.Logf("the node said: %s", lastLine(h.ended(tc.name)))
			if loss, err := h.victim.disk.Crash(faultfs.KeepNone); err != nil {
				t.Fatal(err)
			} else {
				t.Logf("%+v", loss)
			}
			h.victim.mount()
			h.victim.start()
			h.victim.ready()
			h.verify()
		})
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func TestLowDiskRefusesMailAndServesReaders(t *testing.T) {
	t.Parallel()
	h := newHurt(t, "wal")
	n := h.victim
	n.disk.SetFree(8 << 20)
	var reply *textproto.Error
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := deliver(n.smtp(), "x@example.net", "u0@example.test", simpleMessage("too much"))
		if errors.As(err, &reply) && reply.Code == 452 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("with a full disk: %v, want 452", err)
		}
		time.Sleep(50 * time.Millisecond) // the node looks at its disk every second
	}
	if err := h.w.resync(n); err != nil {
		t.Fatal(err)
	}
	c, err := dialIMAP(n.imap(), h.w.account)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var no *imap.Error
	if _, err := appendMessage(c, "INBOX", simpleMessage("too much")); !errors.As(err, &no) || no.Type != imap.StatusResponseTypeNo {
		t.Errorf("APPEND with a full disk: %v, want NO", err)
	}
	if err := h.w.verify(n, true); err != nil {
		t.Errorf("reading with a full disk: %v", err)
	}
	h.write(h.nodes[0], 20) // the others go on, and so does replication to this one
	n.disk.SetFree(-1)
	recovers(t, "SMTP with space again", func() error {
		return deliver(n.smtp(), "x@example.net", "u0@example.test", simpleMessage("enough"))
	})
	if err := h.w.resync(n); err != nil {
		t.Fatal(err)
	}
	h.verify()
}

// flip changes bits at n random places of a file that hold something.
func (h *hurt) flip(path string, n int) {
	h.t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		h.t.Fatal(err)
	}
	for range n {
		for range 10_000 {
			if at := h.r.IntN(len(raw)); raw[at] != 0 {
				raw[at] ^= 1 << h.r.IntN(8)
				break
			}
		}
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// biggest is the largest file that a pattern finds.
func biggest(t *testing.T, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	best, size := "", int64(-1)
	for _, p := range paths {
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Size() > size {
			best, size = p, st.Size()
		}
	}
	if best == "" {
		t.Fatalf("nothing is like %s", pattern)
	}
	return best
}

// TestRottenBodiesAreRepairedFromPeers is B9 from outside: flipped bits and a segment that is gone.
func TestRottenBodiesAreRepairedFromPeers(t *testing.T) {
	t.Parallel()
	h := newHurt(t, "wal")
	for _, tc := range []struct {
		name string
		rot  func(dir string)
	}{
		{"flipped bits", func(dir string) { h.flip(biggest(t, filepath.Join(dir, "blobs", "seg-*")), 40) }},
		{"a segment is gone", func(dir string) {
			if err := os.Remove(biggest(t, filepath.Join(dir, "blobs", "seg-*"))); err != nil {
				t.Fatal(err)
			}
		}},
		{"a segment is cut", func(dir string) {
			path := biggest(t, filepath.Join(dir, "blobs", "seg-*"))
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, st.Size()/2); err != nil {
				t.Fatal(err)
			}
		}},
		{"the index is rotten", func(dir string) { h.flip(biggest(t, filepath.Join(dir, "blobs", "index", "*")), 20) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h.offline(tc.rot)
			// Some damage of the index makes Pebble panic, and hold the folder until the process ends: the next start rebuilds it.
			if served, text := h.servedOrEnded(); !served {
				if !strings.Contains(text, "the next start tries again") {
					t.Fatalf("the node ended:\n%s", text)
				}
				h.victim.start()
			}
			h.victim.ready()
			h.verify()
			h.write(h.nodes[0], 10)
			h.verify()
		})
	}
}

// TestRottenLogOrStateIsNeverServed flips bits: the node either refuses, and says what to do, or what was hit does not matter, and it is
// what the others are.
func TestRottenLogOrStateIsNeverServed(t *testing.T) {
	for _, tc := range []struct{ store, pattern string }{
		{"wal", "raft/wal/*.wal"}, {"bolt", "raft/bolt/log.db"}, {"wal", "raft/stable"}, {"wal", "raft/end"}, {"wal", "state/*/*.sst"}, {"wal", "state/*/MANIFEST-*"}, {"wal", "state/*/*.log"},
	} {
		t.Run(tc.store+" "+tc.pattern, func(t *testing.T) {
			t.Parallel()
			h := newHurt(t, tc.store)
			h.offline(func(dir string) {
				path := biggest(t, filepath.Join(dir, tc.pattern))
				t.Logf("hurting %s", filepath.Base(path))
				h.flip(path, 3)
			})
			h.write(h.nodes[0], 10)
			if served, text := h.servedOrEnded(); served {
				t.Log("what was hit does not matter")
				h.verify()
			} else {
				t.Logf("the node refuses: %s", lastLine(text))
				if !strings.Contains(text, "damaged") && !strings.Contains(text, "corrupt") && !strings.Contains(text, "lost") && !strings.Contains(text, "replace") && !strings.Contains(text, "anew") {
					t.Errorf("the node does not say what is wrong:\n%s", text)
				}
				if strings.Contains(text, "panic") || strings.Contains(text, "goroutine ") {
					t.Errorf("the node panics instead of refusing:\n%s", text)
				}
				h.nodes = h.nodes[:2]
				defer func() { h.nodes = append(h.nodes, h.victim) }()
				h.verify()
			}
		})
	}
}

// servedOrEnded waits until the victim serves and all of its state was read, or has ended.
func (h *hurt) servedOrEnded() (served bool, text string) {
	h.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		var st admin.Status
		if err := h.victim.call("status", admin.Empty{}, &st); err == nil && st.Ready && h.victim.call("check", admin.Empty{}, nil) == nil {
			return true, ""
		}
		select {
		case <-h.victim.exited:
			return false, h.victim.tail()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("the node neither serves nor ends; the end of its log:\n%s", h.victim.tail())
		}
	}
}

// TestLostFolderIsRefusedAndTheNodeReplaced is B5 from outside: a folder that is gone, or of another time, is refused; the node is
// replaced as the message says, under a new id.
func TestLostFolderIsRefusedAndTheNodeReplaced(t *testing.T) {
	t.Parallel()
	h := newHurt(t, "wal")
	for _, folder := range []string{"raft", "state", "blobs"} {
		h.victim.stop()
		var away string
		h.change(func(dir string) {
			away = filepath.Join(h.victim.dir, "away")
			if err := errors.Join(os.Rename(filepath.Join(dir, folder), away), os.Mkdir(filepath.Join(dir, folder), 0o700)); err != nil {
				t.Fatal(err)
			}
		})
		h.victim.start()
		if text := h.ended("without " + folder); !strings.Contains(text, "join anew with an invite") {
			t.Errorf("without %s the node says:\n%s", folder, text)
		}
		h.change(func(dir string) {
			if err := errors.Join(os.RemoveAll(filepath.Join(dir, folder)), os.Rename(away, filepath.Join(dir, folder))); err != nil {
				t.Fatal(err)
			}
		})
		h.victim.start()
		h.victim.ready()
	}
	var st admin.Status
	if err := h.victim.call("status", admin.Empty{}, &st); err != nil {
		t.Fatal(err)
	}
	h.victim.kill()
	h.change(func(dir string) {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	})
	recovers(t, "removing the lost node", func() error { return h.nodes[0].call("node.remove", admin.NodeRequest{ID: st.ID}, nil) })
	h.write(h.nodes[1], 10)
	h.join(h.victim)
	var again admin.Status
	if err := h.victim.call("status", admin.Empty{}, &again); err != nil {
		t.Fatal(err)
	}
	if again.ID == st.ID {
		t.Error("the replaced node has the old id")
	}
	h.victim.ready()
	h.verify()
	// The replacement carries weight: with one old node gone, it and the other go on.
	h.nodes[0].kill()
	recovers(t, "the replaced node and another", func() error {
		return deliver(h.victim.smtp(), "x@example.net", "u0@example.test", simpleMessage("by two"))
	})
	h.nodes[0].start()
	h.nodes[0].ready()
	if err := h.w.resync(h.victim); err != nil {
		t.Fatal(err)
	}
	h.verify()
}
