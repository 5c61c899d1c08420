package store_test

import (
	"testing"

	"github.com/quorumail/quorumail/store"
)

func TestSizesAreReadBack(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "17": 17, "1KiB": 1 << 10, "25 mib": 25 << 20, "1MB": 1e6, "8388607TiB": 8388607 << 40} {
		n, err := store.ParseSize(in)
		if err != nil || n != want {
			t.Errorf("%q: %d, %v, want %d", in, n, err, want)
		}
		if back, err := store.ParseSize(store.FormatSize(n)); err != nil || back != n {
			t.Errorf("%q is written as %q, which is read as %d, %v", in, store.FormatSize(n), back, err)
		}
	}
	for _, in := range []string{"", "x", "-1", "1.5GiB", "1 2", "8388608TiB", "99999999999999999999", "GiB"} {
		if n, err := store.ParseSize(in); err == nil {
			t.Errorf("%q: %d", in, n)
		}
	}
}
