package blob

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/store"
)

// text is a compressible body.
func text(size int) []byte {
	return []byte(strings.Repeat("The quick brown fox jumps over the lazy dog.\r\n", size/46+1))[:size]
}

func TestContainerIsIndependentOfTheWrites(t *testing.T) {
	raw := append(text(FrameBytes+1000), makeSample(t, 1, FrameBytes).raw...)
	whole := encodeSample(t, 1, raw)
	rng := rand.New(rand.NewPCG(1, 2))
	e := NewEncoder(t.TempDir())
	for rest := raw; len(rest) > 0; {
		n := min(len(rest), rng.IntN(40_000))
		if m, err := e.Write(rest[:n]); m != n || err != nil {
			t.Fatalf("Write = %d, %v", m, err)
		}
		rest = rest[n:]
	}
	encoded, err := e.Finish()
	must(t, err)
	defer encoded.Close()
	got, err := io.ReadAll(encoded.Open())
	must(t, err)
	if !bytes.Equal(got, whole.encoded) {
		t.Error("the container depends on how the body was written")
	}
	if encoded.Digest != sha256.Sum256(raw) || encoded.RawBytes != int64(len(raw)) || encoded.CompressedBytes != int64(len(got)) {
		t.Errorf("digest or lengths are wrong: %+v", encoded)
	}
	if whole.encoded == nil || int64(len(got)) > int64(len(raw)) {
		t.Errorf("container of %d bytes for %d", len(got), len(raw))
	}
	r, err := encoded.OpenRaw()
	must(t, err)
	defer r.Close()
	if back, err := io.ReadAll(r); err != nil || !bytes.Equal(back, raw) {
		t.Errorf("read back %d bytes, %v", len(back), err)
	}
}

func TestCompressionShrinksTextAndKeepsNoise(t *testing.T) {
	if n := len(encodeSample(t, 1, text(100_000)).encoded); n > 10_000 {
		t.Errorf("100,000 bytes of repeated text took %d", n)
	}
	base64 := []byte(base64.StdEncoding.EncodeToString(makeSample(t, 3, 30_000).raw))
	if n := len(encodeSample(t, 1, base64).encoded); n > 31_000 {
		t.Errorf("%d bytes of base64 took %d", len(base64), n)
	}
	for _, size := range []int{1, 10, 1000, FrameBytes, 2*FrameBytes + 1} {
		s := makeSample(t, 3, size)
		if n := len(s.encoded); n > size+headerBytes(int64(size)) {
			t.Errorf("%d bytes of noise took %d", size, n)
		}
	}
}

func TestSmallContainerIsInMemory(t *testing.T) {
	for size, inMemory := range map[int]bool{0: true, 5000: true, FrameBytes: true, 2 * FrameBytes: false} {
		dir := t.TempDir()
		e := NewEncoder(dir)
		_, err := e.Write(makeSample(t, 1, size).raw)
		must(t, err)
		encoded, err := e.Finish()
		must(t, err)
		if (encoded.Bytes() != nil) != inMemory {
			t.Errorf("%d bytes of noise: in memory %v, want %v", size, encoded.Bytes() != nil, inMemory)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
			t.Errorf("the spool file has a name: %v, %v", names, err)
		}
		// All ways into the container agree.
		all, err := io.ReadAll(encoded.Open())
		must(t, err)
		for from := 0; from < len(all); from += 1 + len(all)/50 {
			p := make([]byte, min(100, len(all)-from))
			if n, err := encoded.ReadAt(p, int64(from)); n != len(p) || err != nil || !bytes.Equal(p, all[from:from+n]) {
				t.Errorf("ReadAt(%d) = %d, %v", from, n, err)
			}
		}
		must(t, encoded.Close())
	}
}

func TestEncoderErrors(t *testing.T) {
	e := NewEncoder("/nonexistent/folder")
	_, err := e.Write(makeSample(t, 1, 3*FrameBytes).raw)
	if err == nil {
		t.Error("a spool that does not exist was used")
	}
	if _, err := e.Finish(); err == nil {
		t.Error("a broken Encoder finished")
	}
	e = NewEncoder(t.TempDir())
	must(t, e.Close())
	if _, err := e.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	e = NewEncoder(t.TempDir())
	e.h.rawBytes = MaxRawBytes
	if _, err := e.Write([]byte("x")); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("a body over the limit: %v", err)
	}
}

// sparse counts the reads of a container.
type sparse struct {
	*bytes.Reader
	bytes int
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	s.bytes += len(p)
	return s.Reader.ReadAt(p, off)
}

func TestPartialReadOpensOnlyItsFrames(t *testing.T) {
	s := makeSample(t, 1, 10*FrameBytes)
	source := &sparse{Reader: bytes.NewReader(s.encoded)}
	r, err := NewReader(source, int64(len(s.encoded)))
	must(t, err)
	defer r.Close()
	p := make([]byte, 100)
	if _, err := r.ReadAt(p, 5*FrameBytes+50); err != nil || !bytes.Equal(p, s.raw[5*FrameBytes+50:][:100]) {
		t.Fatalf("ReadAt: %v", err)
	}
	if source.bytes > FrameBytes+10_000 {
		t.Errorf("100 bytes cost a read of %d", source.bytes)
	}
}

// TestWrongDigestIsFound has frames whose checksums are right, of another body.
func TestWrongDigestIsFound(t *testing.T) {
	for _, frames := range []int{1, 3} {
		s := encodeSample(t, 1, text(frames*FrameBytes-10))
		h, err := readHeader(bytes.NewReader(s.encoded), int64(len(s.encoded)))
		must(t, err)
		h.digest[0] ^= 1
		forged := append(h.encode(), s.encoded[headerBytes(h.rawBytes):]...)
		r, err := NewReader(bytes.NewReader(forged), int64(len(forged)))
		must(t, err)
		var got bytes.Buffer
		if _, err := r.WriteTo(&got); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d frames: %v, want ErrCorrupt", frames, err)
		}
		if got.Len() != (frames-1)*FrameBytes {
			t.Errorf("%d frames: %d bytes were served", frames, got.Len())
		}
		must(t, r.Close())
	}
}

// noise is an endless body that looks at the heap as it is read.
type noise struct {
	left  int
	rng   *rand.ChaCha8
	check func()
	since int
}

func (n *noise) Read(p []byte) (int, error) {
	if n.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(len(p), n.left)]
	_, _ = n.rng.Read(p)
	n.left -= len(p)
	if n.since += len(p); n.since > 8<<20 {
		n.since = 0
		n.check()
	}
	return len(p), nil
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestBigBodyNeedsLittleMemory streams a body in, through the encoder, into the store, and out again.
func TestBigBodyNeedsLittleMemory(t *testing.T) {
	size := 48 << 20
	if os.Getenv("QUORUMAIL_SOAK") == "1" {
		size = 512 << 20
	}
	d, err := Open(Config{Dir: t.TempDir(), OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	must(t, err)
	defer closeDisk(t, d)
	base := heap()
	limit := func() {
		if now := heap(); now > base+6<<20 {
			t.Errorf("heap grew from %d to %d KiB", base>>10, now>>10)
		}
	}
	e := NewEncoder(t.TempDir())
	_, err = io.CopyBuffer(struct{ io.Writer }{e}, &noise{left: size, rng: rand.NewChaCha8([32]byte{1}), check: limit}, make([]byte, 64<<10))
	must(t, err)
	encoded, err := e.Finish()
	must(t, err)
	defer encoded.Close()
	limit()
	id := encoded.ID([8]byte{1})
	must(t, d.Put(t.Context(), id, 1, encoded.Open(), encoded.CompressedBytes, true))
	limit()
	r, err := d.Open(id)
	must(t, err)
	digest := sha256.New()
	if n, err := r.WriteTo(digest); n != int64(size) || err != nil {
		t.Fatalf("WriteTo = %d, %v", n, err)
	}
	must(t, r.Close())
	limit()
	if [32]byte(digest.Sum(nil)) != encoded.Digest {
		t.Error("other bytes came out")
	}
}
