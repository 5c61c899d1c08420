package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// How is a way in which a file at rest is hurt.
type How string

// The ways. Each changes bytes that hold something: sectors of 512 bytes that are not all zero.
const (
	Flip      How = "flip"      // one bit of a byte that is not zero
	Zero      How = "zero"      // a sector becomes zeros: it was never written, or given back
	Swap      How = "swap"      // two sectors stand in each other's place
	Duplicate How = "duplicate" // a sector went to the wrong place, over another
	Truncate  How = "truncate"  // the file ends in the middle of what it holds
	Remove    How = "remove"    // the file is gone
)

// Hows are all ways.
func Hows() []How { return []How{Flip, Zero, Swap, Duplicate, Truncate, Remove} }

// ErrSound: there is no file in that part of the data folder that can be hurt in that way, for all are missing, empty or too small.
var ErrSound = errors.New("nothing to hurt")

// sectorBytes is what a disk writes whole.
const sectorBytes = 512

// globs are the files that hold a part of the data folder.
func (p Part) globs() []string {
	switch p {
	case Log:
		return []string{"raft/wal/*.wal", "raft/bolt/log.db"}
	case State:
		return []string{"state/*/*.sst", "state/*/MANIFEST-*", "state/*/*.log"}
	case Bodies:
		return []string{"blobs/seg-*", "blobs/index/[0-9M]*"} // not LOCK, markers and OPTIONS, which hold nothing of value
	}
	var all []string
	for _, part := range Parts() {
		all = append(all, part.globs()...)
	}
	return all
}

// Rot hurts one file of a part of the data folder dir, whose node is down, and says what it did. The error is ErrSound when nothing fits.
func Rot(dir string, part Part, how How, rng *rand.Rand) (what string, err error) {
	files, err := candidates(dir, part, rng)
	if err != nil {
		return "", err
	}
	for _, path := range files {
		detail, err := rot(path, how, rng)
		if errors.Is(err, ErrSound) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("hurt %s (%s): %w", path, how, err)
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			name = path
		}
		return fmt.Sprintf("%s %s: %s", how, name, detail), nil
	}
	return "", fmt.Errorf("%w: none of %d files of the %s in %s can be hurt by %q", ErrSound, len(files), part, dir, how)
}

// candidates are the files of a part in the order in which they are tried. Each glob has the same chance, however many files it finds.
func candidates(dir string, part Part, rng *rand.Rand) (files []string, err error) {
	globs := part.globs()
	rng.Shuffle(len(globs), func(i, j int) { globs[i], globs[j] = globs[j], globs[i] })
	for _, glob := range globs {
		found, err := filepath.Glob(filepath.Join(dir, glob))
		if err != nil {
			return nil, fmt.Errorf("look for files to hurt: %w", err)
		}
		rng.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
		files = append(files, found...)
	}
	return files, nil
}

// rot hurts a file.
func rot(path string, how How, rng *rand.Rand) (detail string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := rotter{f: f, rng: rng}
	if r.full, r.end, err = scan(f); err != nil {
		return "", err
	}
	if len(r.full) == 0 {
		return "", ErrSound
	}
	switch how {
	case Flip:
		return r.flip()
	case Zero:
		return r.zero()
	case Swap, Duplicate:
		return r.misplace(how == Swap)
	case Truncate:
		to := rng.Int64N(r.end)
		return fmt.Sprintf("to %d of %d bytes", to, r.end), f.Truncate(to)
	case Remove:
		return fmt.Sprintf("%d bytes", r.end), os.Remove(path)
	}
	return "", fmt.Errorf("there is no such way; there are %v", Hows())
}

// scan finds the sectors that hold something, and the end of the last byte that is not zero: files are often allocated further than written.
func scan(f *os.File) (full []int64, end int64, err error) {
	buf := make([]byte, 1<<20)
	for at := int64(0); ; at += int64(len(buf)) {
		n, err := f.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		for from := 0; from < n; from += sectorBytes {
			if used := len(bytes.TrimRight(buf[from:min(from+sectorBytes, n)], "\x00")); used > 0 {
				full = append(full, at+int64(from))
				end = at + int64(from+used)
			}
		}
		if err != nil {
			return full, end, nil
		}
	}
}

// rotter is at work on one file.
type rotter struct {
	f    *os.File
	rng  *rand.Rand
	full []int64 // where sectors begin that hold something
	end  int64   // of what the file holds
}

// sector reads any sector that holds something. It may be the last, and short.
func (r *rotter) sector() (at int64, content []byte, err error) {
	at = r.full[r.rng.IntN(len(r.full))]
	content = make([]byte, sectorBytes)
	n, err := r.f.ReadAt(content, at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return at, content[:n], err
}

func (r *rotter) flip() (string, error) {
	at, content, err := r.sector()
	if err != nil {
		return "", err
	}
	var set []int
	for i, c := range content {
		if c != 0 {
			set = append(set, i)
		}
	}
	i, bit := set[r.rng.IntN(len(set))], r.rng.IntN(8)
	content[i] ^= 1 << bit
	_, err = r.f.WriteAt(content[i:i+1], at+int64(i))
	return fmt.Sprintf("bit %d of byte %d", bit, at+int64(i)), err
}

func (r *rotter) zero() (string, error) {
	at, content, err := r.sector()
	if err != nil {
		return "", err
	}
	_, err = r.f.WriteAt(make([]byte, len(content)), at)
	return fmt.Sprintf("%d bytes at %d", len(content), at), err
}

// misplace writes a sector over another one that differs, and that one in its place if both are to swap.
func (r *rotter) misplace(swap bool) (string, error) {
	a, first, err := r.sector()
	if err != nil {
		return "", err
	}
	for range 32 { // tries: the sectors may all be alike
		b, second, err := r.sector()
		if err != nil {
			return "", err
		}
		n := min(len(first), len(second))
		if a == b || bytes.Equal(first[:n], second[:n]) {
			continue
		}
		if _, err := r.f.WriteAt(first[:n], b); err != nil {
			return "", err
		}
		if swap {
			_, err = r.f.WriteAt(second[:n], a)
		}
		return fmt.Sprintf("%d bytes at %d and %d", n, a, b), err
	}
	return "", ErrSound
}
