package main

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestSizeOfFill(t *testing.T) {
	for text, want := range map[string]int64{"2GiB": 2 << 30, "100MiB": 100 << 20, "4KiB": 4 << 10, "4096": 4096, "17B": 17, "0": 0, "1 MiB": 1 << 20} {
		var s size
		if err := s.Set(text); err != nil || int64(s) != want {
			t.Errorf("%q is %d, %v", text, int64(s), err)
		}
		var again size
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%q is written as %q, which is %d, %v", text, s.String(), int64(again), err)
		}
	}
	for _, text := range []string{"", "GiB", "-1MiB", "2GB", "much", "99999999999GiB"} {
		var s size
		if err := s.Set(text); err == nil {
			t.Errorf("%q is %d", text, int64(s))
		}
	}
}

// TestFillMessages: as long as they should be, with no line that SMTP forbids, and bytes that do not repeat.
func TestFillMessages(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	rng := rand.New(random)
	total, large := 0, 0
	for range 200 {
		want := fillSize(rng)
		msg := fillMessage("fill-1-1", want, random)
		if len(msg) < want || len(msg) > want+1<<10 {
			t.Errorf("%d bytes instead of %d", len(msg), want)
		}
		total += want
		if want >= 1<<20 {
			large += want
		}
		for line := range bytes.SplitSeq(msg, []byte("\r\n")) {
			if len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("a line of %d bytes, %q", len(line), line)
			}
		}
	}
	if large < total*3/4 {
		t.Errorf("%d of %d bytes are in large messages", large, total)
	}
	a, b := fillMessage("x", 5000, random), fillMessage("x", 5000, random)
	if bytes.Equal(a, b) {
		t.Error("two messages are alike")
	}
}
