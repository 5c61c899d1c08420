package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quorumail/quorumail/store/kv"
)

// Test runs the suite. open makes an empty store, which the suite closes.
func Test(t *testing.T, open func(t *testing.T) kv.Store) {
	for name, test := range map[string]func(*testing.T, kv.Store){
		"AbsentKeyIsNotFound":        absent,
		"HasAgreesWithGet":           agrees,
		"BatchIsSeenWholly":          wholly,
		"BatchSeesItsOwnWrites":      ownWrites,
		"BatchIsDroppedByClose":      dropped,
		"SnapshotIsIsolated":         isolated,
		"IteratorIsIsolated":         iteratorIsolated,
		"IteratorKeepsItsBounds":     bounds,
		"IteratorTurnsAtTheEnds":     turns,
		"DeleteRange":                deleteRange,
		"ValuesAreTheCallersOwn":     ownValues,
		"LimitsAreRefused":           limits,
		"EmptyValueIsThere":          emptyValue,
		"ConcurrentReadersAndWriter": concurrent,
		"MatchesAModel":              model,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			test(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func agrees(t *testing.T, s kv.Store) {
	put(t, s, "a", "1", "b", "", "gone", "x")
	b := s.NewBatch()
	defer b.Close()
	must(t, b.Set([]byte("c"), nil))
	must(t, b.Delete([]byte("gone")))
	snap := s.Snapshot()
	defer snap.Close()
	for _, r := range []kv.Reader{s, b, snap} {
		for _, k := range []string{"a", "b", "c", "gone", "aa", "z"} {
			_, err := r.Get([]byte(k))
			found, herr := r.Has([]byte(k))
			if herr != nil || found != (err == nil) {
				t.Errorf("%T: Has(%q) is %v, %v; Get says %v", r, k, found, herr, err)
			}
		}
	}
	must(t, s.Flush())
	if found, err := s.Has([]byte("a")); err != nil || !found {
		t.Errorf("after a flush: %v, %v", found, err)
	}
}

// put commits pairs of keys and values.
func put(t *testing.T, s kv.Store, pairs ...string) {
	t.Helper()
	b := s.NewBatch()
	for i := 0; i < len(pairs); i += 2 {
		must(t, b.Set([]byte(pairs[i]), []byte(pairs[i+1])))
	}
	must(t, b.Commit(false))
	must(t, b.Close())
}

// want checks a key's value; "" is absence.
func want(t *testing.T, r kv.Reader, key, value string) {
	t.Helper()
	got, err := r.Get([]byte(key))
	if value == "" {
		if !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("%s = %q, %v; want ErrNotFound", key, got, err)
		}
	} else if err != nil || string(got) != value {
		t.Errorf("%s = %q, %v; want %q", key, got, err, value)
	}
}

// dump lists "key=value" in order.
func dump(t *testing.T, r kv.Reader, lower, upper []byte) []string {
	t.Helper()
	it, err := r.Iter(lower, upper)
	must(t, err)
	var all []string
	for ok := it.First(); ok; ok = it.Next() {
		all = append(all, fmt.Sprintf("%s=%s", it.Key(), it.Value()))
	}
	must(t, it.Err())
	must(t, it.Close())
	return all
}

func wantDump(t *testing.T, r kv.Reader, lower, upper []byte, expected ...string) {
	t.Helper()
	if got := dump(t, r, lower, upper); !slices.Equal(got, expected) {
		t.Errorf("[%q,%q) holds %q, want %q", lower, upper, got, expected)
	}
}

func absent(t *testing.T, s kv.Store) {
	want(t, s, "a", "")
	put(t, s, "a", "1")
	want(t, s, "a", "1")
	want(t, s, "b", "")
	b := s.NewBatch()
	must(t, b.Delete([]byte("a")))
	must(t, b.Delete([]byte("never there")))
	must(t, b.Commit(true))
	must(t, b.Close())
	want(t, s, "a", "")
}

func wholly(t *testing.T, s kv.Store) {
	put(t, s, "a", "1", "b", "2")
	b := s.NewBatch()
	must(t, b.Set([]byte("a"), []byte("3")))
	must(t, b.Delete([]byte("b")))
	must(t, b.Set([]byte("c"), []byte("4")))
	wantDump(t, s, nil, nil, "a=1", "b=2")
	if b.Len() == 0 {
		t.Error("a batch with changes has no length")
	}
	must(t, b.Commit(true))
	must(t, b.Close())
	wantDump(t, s, nil, nil, "a=3", "c=4")
	must(t, s.Flush())
	wantDump(t, s, nil, nil, "a=3", "c=4")
}

func ownWrites(t *testing.T, s kv.Store) {
	put(t, s, "a", "1", "b", "2", "c", "3", "d", "4")
	b := s.NewBatch()
	defer b.Close()
	must(t, b.Set([]byte("a"), []byte("x")))
	want(t, b, "a", "x")
	must(t, b.Delete([]byte("b")))
	must(t, b.DeleteRange([]byte("c"), []byte("d")))
	must(t, b.Set([]byte("e"), []byte("y")))
	want(t, b, "b", "")
	want(t, b, "c", "")
	want(t, b, "d", "4")
	wantDump(t, b, nil, nil, "a=x", "d=4", "e=y")
	must(t, b.Set([]byte("c"), []byte("again")))
	wantDump(t, b, []byte("b"), []byte("e"), "c=again", "d=4")
	wantDump(t, s, nil, nil, "a=1", "b=2", "c=3", "d=4")
}

func dropped(t *testing.T, s kv.Store) {
	b := s.NewBatch()
	must(t, b.Set([]byte("a"), []byte("1")))
	must(t, b.Close())
	want(t, s, "a", "")
}

func isolated(t *testing.T, s kv.Store) {
	put(t, s, "a", "1", "b", "2")
	old := s.Snapshot()
	put(t, s, "a", "3", "c", "4")
	b := s.NewBatch()
	must(t, b.DeleteRange([]byte("b"), []byte("c")))
	must(t, b.Commit(false))
	must(t, b.Close())
	must(t, s.Flush())
	wantDump(t, old, nil, nil, "a=1", "b=2")
	want(t, old, "c", "")
	wantDump(t, s, nil, nil, "a=3", "c=4")
	must(t, old.Close())
}

func iteratorIsolated(t *testing.T, s kv.Store) {
	put(t, s, "a", "1", "b", "2")
	it, err := s.Iter(nil, nil)
	must(t, err)
	put(t, s, "b", "new", "c", "3")
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; string(it.Value()) == "new" {
			t.Error("an open iterator sees a later commit")
		}
	}
	if n != 2 {
		t.Errorf("%d keys, want 2", n)
	}
	must(t, it.Close())
}

func bounds(t *testing.T, s kv.Store) {
	put(t, s, "a", "1", "b", "2", "c", "3", "d", "4")
	wantDump(t, s, []byte("b"), []byte("d"), "b=2", "c=3")
	wantDump(t, s, []byte("bb"), nil, "c=3", "d=4")
	wantDump(t, s, nil, []byte("b"), "a=1")
	wantDump(t, s, []byte("c"), []byte("c"))
	wantDump(t, s, []byte("d"), []byte("b"))
	it, err := s.Iter([]byte("b"), []byte("d"))
	must(t, err)
	defer it.Close()
	for _, move := range []struct {
		name string
		do   func() bool
		key  string
	}{
		{"SeekGE below the lower bound", func() bool { return it.SeekGE([]byte("a")) }, "b"},
		{"SeekGE between", func() bool { return it.SeekGE([]byte("bb")) }, "c"},
		{"SeekGE at the upper bound", func() bool { return it.SeekGE([]byte("d")) }, ""},
		{"SeekLT above the upper bound", func() bool { return it.SeekLT([]byte("z")) }, "c"},
		{"SeekLT a key", func() bool { return it.SeekLT([]byte("c")) }, "b"},
		{"SeekLT the lower bound", func() bool { return it.SeekLT([]byte("b")) }, ""},
		{"Last", it.Last, "c"}, {"Prev", it.Prev, "b"}, {"Prev to the end", it.Prev, ""},
	} {
		ok := move.do()
		if ok != (move.key != "") || ok != it.Valid() || ok && string(it.Key()) != move.key {
			t.Errorf("%s: %v at %q, want %q", move.name, ok, it.Key(), move.key)
		}
	}
}

func turns(t *testing.T, s kv.Store) {
	put(t, s, "a", "1", "b", "2")
	it, err := s.Iter(nil, nil)
	must(t, err)
	defer it.Close()
	it.Last()
	if beyond, still := it.Next(), it.Next(); beyond || still || !it.Prev() || string(it.Key()) != "b" {
		t.Errorf("turned at the end to %q, want b", it.Key())
	}
	it.First()
	if beyond, still := it.Prev(), it.Prev(); beyond || still || !it.Next() || string(it.Key()) != "a" {
		t.Errorf("turned at the beginning to %q, want a", it.Key())
	}
}

func deleteRange(t *testing.T, s kv.Store) {
	put(t, s, "a", "1", "b", "2", "c", "3", "d", "4")
	b := s.NewBatch()
	must(t, b.DeleteRange([]byte("b"), []byte("d")))
	must(t, b.DeleteRange([]byte("d"), []byte("a"))) // empty
	must(t, b.Commit(false))
	must(t, b.Close())
	wantDump(t, s, nil, nil, "a=1", "d=4")
}

func ownValues(t *testing.T, s kv.Store) {
	key, value := []byte("key"), []byte("value")
	b := s.NewBatch()
	must(t, b.Set(key, value))
	key[0], value[0] = 'X', 'X'
	must(t, b.Commit(false))
	must(t, b.Close())
	got, err := s.Get([]byte("key"))
	must(t, err)
	if string(got) != "value" {
		t.Errorf("the batch kept the caller's slice: %q", got)
	}
	got[0] = 'Y'
	want(t, s, "key", "value")
}

func limits(t *testing.T, s kv.Store) {
	b := s.NewBatch()
	defer b.Close()
	long := make([]byte, kv.MaxKeyBytes+1)
	for name, c := range map[string]struct{ got, want error }{
		"empty key":       {b.Set(nil, []byte("x")), kv.ErrInvalid},
		"delete of it":    {b.Delete(nil), kv.ErrInvalid},
		"long key":        {b.Set(long, nil), kv.ErrTooLarge},
		"long value":      {b.Set([]byte("k"), make([]byte, kv.MaxValueBytes+1)), kv.ErrTooLarge},
		"unbounded range": {b.DeleteRange([]byte("a"), nil), kv.ErrInvalid},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	must(t, b.Set(long[:kv.MaxKeyBytes], nil))
}

func emptyValue(t *testing.T, s kv.Store) {
	b := s.NewBatch()
	must(t, b.Set([]byte("k"), nil))
	must(t, b.Commit(false))
	must(t, b.Close())
	if got, err := s.Get([]byte("k")); err != nil || got == nil || len(got) != 0 {
		t.Errorf("empty value: %v, %v", got, err)
	}
}

func concurrent(t *testing.T, s kv.Store) {
	stop, ended := make(chan struct{}), make(chan error, 3)
	for range cap(ended) {
		go func() { ended <- readPairs(s, stop) }()
	}
	for i := range 300 {
		v := fmt.Sprint(i)
		put(t, s, "a", v, "z", v)
	}
	close(stop)
	for range cap(ended) {
		must(t, <-ended)
	}
}

// readPairs checks until stop that two keys which are always written together are read together.
func readPairs(s kv.Store, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		snapshot := s.Snapshot()
		a, errA := snapshot.Get([]byte("a"))
		z, errZ := snapshot.Get([]byte("z"))
		if err := snapshot.Close(); err != nil {
			return err
		}
		if !bytes.Equal(a, z) || (errA == nil) != (errZ == nil) {
			return fmt.Errorf("half a batch: %q %v, %q %v", a, errA, z, errZ)
		}
	}
}

// model does random changes and compares with a map.
func model(t *testing.T, s kv.Store) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	truth := map[string]string{}
	key := func() string { return fmt.Sprintf("%02d", rng.IntN(60)) }
	for range 150 {
		b := s.NewBatch()
		for range rng.IntN(8) {
			switch k := key(); rng.IntN(8) {
			case 0:
				upper := key()
				must(t, b.DeleteRange([]byte(k), []byte(upper)))
				for have := range truth {
					if have >= k && have < upper {
						delete(truth, have)
					}
				}
			case 1, 2:
				must(t, b.Delete([]byte(k)))
				delete(truth, k)
			default:
				v := fmt.Sprint(rng.IntN(1000))
				must(t, b.Set([]byte(k), []byte(v)))
				truth[k] = v
			}
		}
		compare(t, b, truth, rng)
		must(t, b.Commit(rng.IntN(10) == 0))
		must(t, b.Close())
		if rng.IntN(20) == 0 {
			must(t, s.Flush())
		}
		compare(t, s, truth, rng)
	}
}

// compare walks a random range in both directions.
func compare(t *testing.T, r kv.Reader, truth map[string]string, rng *rand.Rand) {
	t.Helper()
	lower, upper := fmt.Sprintf("%02d", rng.IntN(60)), fmt.Sprintf("%02d", rng.IntN(60))
	var expected []string
	for k, v := range truth {
		if k >= lower && k < upper {
			expected = append(expected, k+"="+v)
		}
	}
	slices.Sort(expected)
	wantDump(t, r, []byte(lower), []byte(upper), expected...)
	it, err := r.Iter([]byte(lower), []byte(upper))
	must(t, err)
	var backward []string
	for ok := it.Last(); ok; ok = it.Prev() {
		backward = append(backward, fmt.Sprintf("%s=%s", it.Key(), it.Value()))
	}
	must(t, it.Close())
	slices.Reverse(backward)
	if !slices.Equal(backward, expected) {
		t.Fatalf("backward: %q, want %q", backward, expected)
	}
}
