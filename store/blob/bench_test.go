package blob

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store"
)

// benchBody makes bodies that compress by about 1.4, all different.
func benchBody(b *testing.B, size int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(size)))
	raw := make([]byte, size)
	for i := range raw {
		raw[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef0123456789+/\r\n"[rng.IntN(46)]
	}
	return raw
}

func encodeOnce(b *testing.B, raw []byte, dir string) *Encoded {
	e := NewEncoder(dir)
	if _, err := e.Write(raw); err != nil {
		b.Fatal(err)
	}
	encoded, err := e.Finish()
	if err != nil {
		b.Fatal(err)
	}
	return encoded
}

func BenchmarkEncode(b *testing.B) {
	for _, size := range []int{1 << 10, 20 << 10, 200 << 10, 4 << 20} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			raw, dir := benchBody(b, size), b.TempDir()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			var out *Encoded
			for b.Loop() {
				out = encodeOnce(b, raw, dir)
				if err := out.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(out.RawBytes)/float64(out.CompressedBytes), "ratio")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{1 << 10, 20 << 10, 200 << 10, 4 << 20} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			encoded := encodeOnce(b, benchBody(b, size), b.TempDir())
			defer encoded.Close()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				r, err := encoded.OpenRaw()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := r.WriteTo(io.Discard); err != nil {
					b.Fatal(err)
				}
				_ = r.Close()
			}
		})
	}
}

// BenchmarkPut puts bodies with an fsync each, from 64 goroutines that share them.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 20 << 10, 200 << 10} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			d, err := Open(Config{Dir: b.TempDir(), OnFatal: func(err error) { b.Error(err) }})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			encoded := encodeOnce(b, benchBody(b, size), b.TempDir())
			defer encoded.Close()
			container, _ := io.ReadAll(encoded.Open())
			var nonce atomic.Uint64
			b.SetBytes(int64(len(container)))
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					id := encoded.ID(nonceOf(nonce.Add(1)))
					if err := d.Put(b.Context(), id, 1, bytes.NewReader(container), int64(len(container)), true); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/float64(d.Stats().Fsyncs), "puts/fsync")
		})
	}
}

func nonceOf(n uint64) (nonce [store.NonceBytes]byte) {
	binary.BigEndian.PutUint64(nonce[:], n)
	return nonce
}

func BenchmarkOpenAndRead(b *testing.B) {
	d, err := Open(Config{Dir: b.TempDir(), OnFatal: func(err error) { b.Error(err) }})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	encoded := encodeOnce(b, benchBody(b, 20<<10), b.TempDir())
	defer encoded.Close()
	id := encoded.ID(nonceOf(1))
	if err := d.Put(b.Context(), id, 1, encoded.Open(), encoded.CompressedBytes, true); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r, err := d.Open(id)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
		_ = r.Close()
	}
}

// TestManyBodiesNeedLittleMemory fills a store, and looks at the memory and at the time to open it again: 20,000 bodies of 1 KiB, or
// 1,000,000 with QUORUMAIL_SOAK=1.
func TestManyBodiesNeedLittleMemory(t *testing.T) {
	bodies, dir := uint64(20_000), t.TempDir()
	var fs vfs.FS = vfs.Default
	if os.Getenv("QUORUMAIL_SOAK") == "1" {
		bodies = 1_000_000
	}
	c := Config{Dir: dir, FS: fs, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}
	base := heap()
	d, err := Open(c)
	must(t, err)
	s := makeSample(t, 1, 1000)
	digest := s.id.Digest()
	start := time.Now()
	for i := range bodies {
		id := store.NewBodyID(digest, nonceOf(i))
		must(t, d.Put(t.Context(), id, 1, bytes.NewReader(s.encoded), int64(len(s.encoded)), i%1000 == 0))
	}
	filled := time.Since(start)
	full := heap()
	closeDisk(t, d)
	start = time.Now()
	d, err = Open(c)
	must(t, err)
	opened := time.Since(start)
	again := heap()
	t.Logf("%d bodies in %v; heap %d KiB empty, %d KiB full, %d KiB after an Open of %v", bodies, filled, base>>10, full>>10, again>>10, opened)
	if limit := base + 24<<20; full > limit || again > limit {
		t.Errorf("heap %d KiB, %d KiB after Open; want at most %d KiB", full>>10, again>>10, limit>>10)
	}
	if n := d.Stats().Bodies; n != int64(bodies) {
		t.Errorf("%d bodies, want %d", n, bodies)
	}
	closeDisk(t, d)
}
