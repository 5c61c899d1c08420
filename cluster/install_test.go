package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/quorumail/quorumail/cluster/raftlog"
	"github.com/quorumail/quorumail/store/durable"
)

// half is a node with its log and its state, but without Raft.
type half struct {
	*Node
	fs     *vfs.MemFS
	fatals []error
}

func newHalf(t *testing.T, fs *vfs.MemFS, m *notes) *half {
	t.Helper()
	h := &half{fs: fs}
	disk := durable.Disk{FS: fs}
	if err := disk.MkdirAll("raft", 0o700); err != nil {
		t.Fatal(err)
	}
	h.Node = &Node{applied: newWaiter(), installs: newInstalls(disk, "raft")}
	h.cfg = Config{Machine: m, Logger: slog.New(slog.DiscardHandler), OnFatal: func(err error) { h.fatals = append(h.fatals, err) }}
	var err error
	h.log, err = raftlog.Open(t.Context(), raftlog.Config{Dir: "raft", FS: fs, OnFatal: h.cfg.OnFatal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.log.Close() })
	h.logs = entries{h.log, h.installs, func() {}, h.cfg.OnFatal}
	h.cfg.Port = nil
	return h
}

func (h *half) fill(t *testing.T, first, last, term uint64) {
	t.Helper()
	for i := first; i <= last; i++ {
		if err := h.logs.StoreLog(&raft.Log{Index: i, Term: term, Type: raft.LogCommand}); err != nil {
			t.Fatal(err)
		}
	}
}

func (h *half) bounds(t *testing.T) [2]uint64 {
	t.Helper()
	first, err := h.log.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	last, err := h.log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	return [2]uint64{first, last}
}

func at(index, term uint64) *notes { return &notes{pos: Position{Index: index, Term: term}} }

func checkpointAt(t *testing.T, index, term uint64) io.Reader {
	t.Helper()
	raw, err := json.Marshal(notesFile{Pos: Position{Index: index, Term: term}})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(raw)
}

// What a node finds when it starts: its log, its state, and the mark of a checkpoint that was being installed.
func TestLogAndStateAtStart(t *testing.T) {
	mark := func(index, term uint64, empty bool) *installMark { return &installMark{index, term, empty} }
	for _, tc := range []struct {
		name        string
		first, last uint64 // of the log, in term 2
		pos         *notes
		mark        *installMark
		lost        bool
		want        [2]uint64 // the log afterwards
		marked      bool      // afterwards
	}{
		{name: "a new node", pos: at(0, 0)},
		{name: "a log whose state is behind", first: 1, last: 20, pos: at(5, 2), want: [2]uint64{1, 20}},
		{name: "a log and no state yet", first: 1, last: 20, pos: at(0, 0), want: [2]uint64{1, 20}},
		{name: "a log that begins after the state", first: 6, last: 20, pos: at(5, 1), want: [2]uint64{6, 20}},
		{name: "a log that begins too late", first: 7, last: 20, pos: at(5, 2), lost: true},
		{name: "a log that ends before the state", first: 1, last: 20, pos: at(21, 2), lost: true},
		{name: "no log", pos: at(21, 2), lost: true},
		{name: "another term", first: 1, last: 20, pos: at(10, 3), lost: true},

		{name: "died before the state was replaced", first: 1, last: 20, pos: at(15, 2), mark: mark(100, 4, false), want: [2]uint64{1, 20}},
		{name: "died before the log was removed", first: 1, last: 20, pos: at(100, 4), mark: mark(100, 4, false), marked: true},
		{name: "the same, and the log went further", first: 1, last: 200, pos: at(100, 4), mark: mark(100, 4, false), marked: true},
		{name: "died before the first new entry", pos: at(100, 4), mark: mark(100, 4, false), marked: true},
		{name: "died before the mark went", first: 101, last: 105, pos: at(103, 2), mark: mark(100, 4, false), want: [2]uint64{101, 105}},
		{name: "the same, and the state was set back to the checkpoint", first: 101, last: 105, pos: at(100, 4), mark: mark(100, 4, false), want: [2]uint64{101, 105}},

		{name: "fetched, and no entry yet", pos: at(100, 4), mark: mark(100, 4, true), marked: true},
		{name: "died while it was fetched", pos: at(0, 0), mark: mark(100, 4, true), marked: true},
		{name: "died while it was fetched once more", pos: at(100, 4), mark: mark(150, 4, true), marked: true},
		{name: "fetched once more in vain, then followed", first: 101, last: 160, pos: at(150, 2), mark: mark(150, 4, true), want: [2]uint64{101, 160}},

		{name: "the mark is of another checkpoint", first: 1, last: 20, pos: at(90, 4), mark: mark(100, 4, false), lost: true},
		{name: "the mark is of another term", first: 1, last: 20, pos: at(100, 3), mark: mark(100, 4, false), lost: true},
		{name: "the mark is of another checkpoint and the log is gone", pos: at(90, 4), mark: mark(100, 4, false), lost: true},
		{name: "the state is past the mark and the log is not", first: 1, last: 20, pos: at(101, 4), mark: mark(100, 4, false), lost: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			h := newHalf(t, fs, tc.pos)
			if tc.last > 0 {
				h.fill(t, tc.first, tc.last, 2)
			}
			if tc.mark != nil {
				if err := h.installs.begin(*tc.mark); err != nil {
					t.Fatal(err)
				}
			}
			if err := h.log.Close(); err != nil {
				t.Fatal(err)
			}
			h = newHalf(t, fs.CrashClone(vfs.CrashCloneCfg{}), tc.pos)
			err := h.checkLog()
			if errors.Is(err, ErrLostDisk) != tc.lost || !tc.lost && err != nil {
				t.Fatalf("checkLog: %v", err)
			}
			if tc.lost {
				if got := h.bounds(t); got != [2]uint64{tc.first, tc.last} {
					t.Errorf("the log of a lost disk was changed: %v", got)
				}
				return
			}
			if got := h.bounds(t); got != tc.want {
				t.Errorf("the log is %v, want %v", got, tc.want)
			}
			if _, marked, err := h.installs.read(); marked != tc.marked || err != nil {
				t.Errorf("marked: %v, want %v (%v)", marked, tc.marked, err)
			}
			if err := h.checkLog(); err != nil {
				t.Errorf("the second time: %v", err)
			}
			next := max(h.bounds(t)[1], tc.pos.pos.Index) + 1
			h.fill(t, next, next, 5)
			if _, marked, err := h.installs.read(); marked || err != nil {
				t.Errorf("the mark stays after the first entry (%v)", err)
			}
			if err := h.checkLog(); err != nil {
				t.Errorf("after an entry: %v", err)
			}
		})
	}
}

func TestInstallReplacesTheState(t *testing.T) {
	h := newHalf(t, vfs.NewCrashableMem(), at(15, 2))
	h.fill(t, 1, 20, 2)
	if err := h.install(100, 4, checkpointAt(t, 100, 4)); err != nil {
		t.Fatal(err)
	}
	if got := h.cfg.Machine.Position().Index; got != 100 || h.applied.index != 100 {
		t.Errorf("the state is at %d, waiters are told of %d", got, h.applied.index)
	}
	if _, marked, err := h.installs.read(); !marked || err != nil {
		t.Errorf("no mark between the state and the log (%v)", err)
	}
	if len(h.fatals) > 0 {
		t.Error(h.fatals)
	}
}

// An old message must not take back what was acknowledged since.
func TestOldCheckpointIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name        string
		index, term uint64
	}{{"behind the state", 10, 1}, {"in the log", 18, 2}} {
		h := newHalf(t, vfs.NewCrashableMem(), at(15, 2))
		h.fill(t, 1, 20, 2)
		if err := h.install(tc.index, tc.term, checkpointAt(t, tc.index, tc.term)); !errors.Is(err, errNotNeeded) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if h.cfg.Machine.Position().Index != 15 {
			t.Errorf("%s: the state changed", tc.name)
		}
	}
}

// hashicorp/raft #697: the old log went as far as the checkpoint, and Raft would go on believing in its end.
func TestInstallOverALongerLogStartsAgain(t *testing.T) {
	for _, last := range []uint64{100, 150} {
		fs := vfs.NewCrashableMem()
		h := newHalf(t, fs, at(15, 2))
		h.fill(t, 1, last, 2)
		port := newLab(t, 1).members[0].cfg.Port
		h.cfg.Port = port
		if err := h.install(100, 4, checkpointAt(t, 100, 4)); !errors.Is(err, ErrStartAgain) {
			t.Errorf("a log up to %d: %v", last, err)
		}
		if len(h.fatals) != 1 || !errors.Is(h.fatals[0], ErrStartAgain) {
			t.Errorf("fatal: %v", h.fatals)
		}
		if err := h.checkLog(); err != nil || h.bounds(t) != [2]uint64{} {
			t.Errorf("at the next start: %v, %v", err, h.bounds(t))
		}
	}
}

func TestFailedRestore(t *testing.T) {
	h := newHalf(t, vfs.NewCrashableMem(), at(15, 2))
	h.fill(t, 1, 20, 2)
	if err := h.install(100, 4, bytes.NewReader([]byte("rubbish"))); err == nil || len(h.fatals) > 0 {
		t.Errorf("a checkpoint that cannot be read: %v, %v", err, h.fatals)
	}
	if err := h.checkLog(); err != nil || h.bounds(t) != [2]uint64{1, 20} {
		t.Errorf("the node does not go on as before: %v", err)
	}
	h.cfg.Port = newLab(t, 1).members[0].cfg.Port
	if err := h.install(100, 4, checkpointAt(t, 99, 4)); !errors.Is(err, errHalfRestored) || len(h.fatals) != 1 {
		t.Errorf("a checkpoint that is not what it was announced for: %v, %v", err, h.fatals)
	}
}

func TestLogIsBoundedByBytes(t *testing.T) {
	cfg := Config{}
	setDefaults(&cfg)
	for _, tc := range []struct {
		average           int64
		persist, trailing uint64
	}{{0, 65536, 262144}, {300, 65536, 262144}, {8 << 10, 32768, 98304}, {1 << 20, 1024, 1024}} {
		if persist, trailing := logBounds(cfg, tc.average); persist != tc.persist || trailing != tc.trailing {
			t.Errorf("entries of %d bytes: %d and %d, want %d and %d", tc.average, persist, trailing, tc.persist, tc.trailing)
		}
	}
}
