package filter

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestGapsOfAStar(t *testing.T) {
	k, err := parseKeyword("đầu*cuối")
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]bool{0: true, 1: true, MaxGap: true, MaxGap + 1: false} {
		text := "dau" + strings.Repeat("é", n) + "CUỐI"
		if got := scanned([]keyword{k}, "", text, rand.New(rand.NewPCG(1, 1)))[0]; got != want {
			t.Errorf("%d characters between: %v", n, got)
		}
	}
}

// Wherever a text is cut into pieces, what stands across the cut is found.
func TestKeywordsAcrossPieces(t *testing.T) {
	k, err := parseKeyword(`"tiền thưởng"`)
	if err != nil {
		t.Fatal(err)
	}
	for _, filler := range []string{"x ", "\u1ea1", "漢字 ", "e\u0301"} {
		for shift := range 40 {
			before := strings.Repeat(filler, (2*foldChunk-20)/len(filler))
			text := before + strings.Repeat(" ", 1+shift) + "Tiê\u0300n\r\n\tthưởng."
			if !scanned([]keyword{k}, "", text, rand.New(rand.NewPCG(uint64(shift), 1)))[0] {
				t.Errorf("not found behind %q and %d blanks", filler, shift)
			}
		}
	}
}

// The property of FuzzKeyword for texts in which matches, and what is nearly one, are frequent.
func TestKeywordsAgreeWithANaiveSearch(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	random := func(n int, alphabet ...string) string {
		var b strings.Builder
		for range 1 + r.IntN(n) {
			b.WriteString(alphabet[r.IntN(len(alphabet))])
		}
		return b.String()
	}
	found := 0
	for range 800 {
		var keywords []keyword
		for range 10 {
			p := random(5, "a", "á", "b", "đ", "a", "b", "*", " ", ".")
			if r.IntN(2) == 0 {
				p = `"` + p + `"`
			}
			if k, err := parseKeyword(p); err == nil {
				keywords = append(keywords, k)
			}
		}
		text := random(150, "a", "A\u0301", "B", "d", "D", " ", "\r\n", ".", strings.Repeat("-", 30))
		got := scanned(keywords, "ab", text, r)
		for i, k := range keywords {
			want := naively(t, k, text)
			if got[i] != want {
				t.Fatalf("seed %d: %+v in %q: %v, naively %v", seed, k, text, got[i], want)
			}
			if want {
				found++
			}
		}
	}
	if found < 500 {
		t.Errorf("seed %d: only %d matches, which tells little", seed, found)
	}
}
