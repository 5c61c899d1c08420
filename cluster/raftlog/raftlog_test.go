package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// kinds are the stores that the suite runs over.
var kinds = []struct {
	name, kind string
	fs         func() vfs.FS // nil is the operating system's
}{
	{"wal", "wal", nil},
	{"bolt", "bolt", nil},
	{"wal in memory", "wal", func() vfs.FS { return vfs.NewCrashableMem() }},
}

func eachKind(t *testing.T, f func(t *testing.T, cfg Config)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			cfg := Config{Dir: filepath.Join(t.TempDir(), "raft"), Kind: k.kind, SegmentBytes: 16 << 10, CacheEntries: 4}
			if k.fs != nil {
				cfg.FS = k.fs()
			}
			f(t, cfg)
		})
	}
}

// fatals collects what would have ended the process.
type fatals struct {
	mu   sync.Mutex
	errs []error
}

func (f *fatals) add(err error) { f.mu.Lock(); defer f.mu.Unlock(); f.errs = append(f.errs, err) }

func (f *fatals) all() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]error(nil), f.errs...)
}

// open opens a log of which nothing may be fatal.
func open(t *testing.T, cfg Config) *Log {
	t.Helper()
	if cfg.OnFatal == nil {
		cfg.OnFatal = func(err error) { t.Errorf("fatal: %v", err) }
	}
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// entry is what is written at an index: its content tells it from all others.
func entry(index uint64) *raft.Log {
	return &raft.Log{Index: index, Term: index/7 + 1, Type: raft.LogCommand, Data: bytes.Repeat(fmt.Appendf(nil, "%d,", index), 1+int(index*37%150))}
}

func entries(first, last uint64) (all []*raft.Log) {
	for i := first; i <= last; i++ {
		all = append(all, entry(i))
	}
	return all
}

// fill writes entries in batches of several sizes.
func fill(t *testing.T, l *Log, first, last uint64) {
	t.Helper()
	for i := first; i <= last; {
		n := min(i%5, last-i)
		if err := l.StoreLogs(entries(i, i+n)); err != nil {
			t.Fatal(err)
		}
		i += n + 1
	}
}

func same(got, want *raft.Log) bool {
	return got.Index == want.Index && got.Term == want.Term && got.Type == want.Type && bytes.Equal(got.Data, want.Data)
}

// expect says what the log must hold.
func expect(t *testing.T, l *Log, first, last uint64) {
	t.Helper()
	gotFirst, gotLast, err := l.bounds()
	if err != nil {
		t.Fatal(err)
	}
	if gotFirst != first || gotLast != last {
		t.Fatalf("the log goes from %d to %d, want %d to %d", gotFirst, gotLast, first, last)
	}
	for i := first; i <= last && last > 0; i++ {
		var e raft.Log
		if err := l.GetLog(i, &e); err != nil || !same(&e, entry(i)) {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
	for _, i := range []uint64{first - min(first, 1), last + 1} {
		if err := l.GetLog(i, &raft.Log{}); i != first && err != raft.ErrLogNotFound {
			t.Errorf("entry %d outside: %v", i, err)
		}
	}
}

func TestReadsWhatWasWritten(t *testing.T) {
	eachKind(t, func(t *testing.T, cfg Config) {
		l := open(t, cfg)
		expect(t, l, 0, 0)
		fill(t, l, 1, 300)
		expect(t, l, 1, 300)
		if err := l.DeleteRange(1, 100); err != nil {
			t.Fatal(err)
		}
		expect(t, l, 101, 300)
		if err := l.DeleteRange(251, 300); err != nil {
			t.Fatal(err)
		}
		expect(t, l, 101, 250)
		if err := l.Verify(101); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("the second Close: %v", err)
		}
		l = open(t, cfg)
		expect(t, l, 101, 250)
		fill(t, l, 251, 260)
		if err := l.Reset(); err != nil {
			t.Fatal(err)
		}
		expect(t, l, 0, 0)
		fill(t, l, 5000, 5010) // a log may begin anywhere
		expect(t, l, 5000, 5010)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		expect(t, open(t, cfg), 5000, 5010)
	})
}

func TestTermAndVoteLast(t *testing.T) {
	eachKind(t, func(t *testing.T, cfg Config) {
		l := open(t, cfg)
		if n, err := l.GetUint64([]byte("term")); n != 0 || err != nil {
			t.Errorf("a term that was not set: %d, %v", n, err)
		}
		for i := range uint64(5) {
			if err := errors.Join(l.SetUint64([]byte("term"), i), l.Set([]byte("vote"), fmt.Appendf(nil, "n%d", i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, cfg)
		term, err := l.GetUint64([]byte("term"))
		vote, verr := l.Get([]byte("vote"))
		if term != 4 || string(vote) != "n4" || err != nil || verr != nil {
			t.Errorf("term %d, vote %q, %v, %v", term, vote, err, verr)
		}
	})
}

func TestOneProcessAtATime(t *testing.T) {
	eachKind(t, func(t *testing.T, cfg Config) {
		open(t, cfg)
		if l, err := Open(t.Context(), cfg); err == nil {
			l.Close()
			t.Error("the log was opened twice")
		}
	})
}

func TestStoreCannotBeChanged(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Kind: "wal"}
	fill(t, open(t, cfg), 1, 3)
	cfg.Kind = "bolt"
	if l, err := Open(t.Context(), cfg); err == nil {
		l.Close()
		t.Error("a log of another kind was begun beside the one that is there")
	}
}

func TestUnknownStoreIsRefused(t *testing.T) {
	if _, err := Open(t.Context(), Config{Dir: t.TempDir(), Kind: "paper"}); err == nil {
		t.Error("there is no such store")
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(8, 1000)
	check := func(first, next uint64) {
		t.Helper()
		var bytes int64
		for i := c.first; i < c.next; i++ {
			var e raft.Log
			if !c.get(i, &e) || e.Index != i {
				t.Fatalf("entry %d is not there", i)
			}
			bytes += int64(len(e.Data))
		}
		held := 0
		for _, e := range c.ring {
			if e != nil {
				held++
			}
		}
		if c.first != first || c.next != next || bytes != c.bytes || c.bytes > c.maxBytes || uint64(held) != next-first {
			t.Fatalf("%d to %d with %d bytes, holds %d; want %d to %d with %d", c.first, c.next, c.bytes, held, first, next, bytes)
		}
	}
	add := func(first, last uint64, size int) {
		for i := first; i <= last; i++ {
			c.add([]*raft.Log{{Index: i, Data: make([]byte, size)}})
		}
	}
	add(1, 20, 10)
	check(13, 21)
	add(21, 25, 300)
	check(23, 26)
	c.remove(1, 23)
	check(24, 26)
	add(40, 41, 10)
	check(40, 42)
	c.remove(41, 41)
	if c.get(40, &raft.Log{}) || c.bytes != 0 {
		t.Error("an end that was cut off")
	}
	add(41, 41, 2000)
	if c.get(41, &raft.Log{}) || c.bytes != 0 {
		t.Error("an entry larger than all is not kept")
	}
}

// Raft reads as leader while it truncates, and the scrub reads besides.
func TestReadersAndTruncationTogether(t *testing.T) {
	eachKind(t, func(t *testing.T, cfg Config) {
		l := open(t, cfg)
		fill(t, l, 1, 200)
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for n := range uint64(3) {
			wg.Add(1)
			go func() {
				defer wg.Done()
				rng := rand.New(rand.NewPCG(1, n))
				for {
					select {
					case <-stop:
						return
					default:
					}
					i := 1 + rng.Uint64N(700)
					var e raft.Log
					if err := l.GetLog(i, &e); err != nil && err != raft.ErrLogNotFound || err == nil && !same(&e, entry(i)) {
						t.Errorf("entry %d: %v", i, err)
						return
					}
					if n == 0 {
						l.scrubOnce(t.Context(), 1<<40)
					}
				}
			}()
		}
		for i := uint64(201); i <= 600; i += 10 {
			fill(t, l, i, i+9)
			if i%50 == 1 {
				if err := errors.Join(l.DeleteRange(i-200, i-151), l.DeleteRange(i+5, i+9)); err != nil {
					t.Error(err)
				}
				fill(t, l, i+5, i+9)
			}
		}
		close(stop)
		wg.Wait()
	})
}

func TestScrubEndsWithItsContext(t *testing.T) {
	l := open(t, Config{Dir: "raft", FS: vfs.NewMem()})
	fill(t, l, 1, 50)
	done := make(chan struct{})
	ctx, cancel := contextWithCancel(t)
	go func() { defer close(done); l.Scrub(ctx, time.Hour, 1<<30) }()
	cancel()
	<-done
}
