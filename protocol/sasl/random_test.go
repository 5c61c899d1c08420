package sasl

import (
	"context"
	"math"
	"regexp"
	"strings"
	"testing"
)

func TestGeneratedPasswords(t *testing.T) {
	app := regexp.MustCompile(`^([0-9a-hjkmnp-tv-z]{4}-){4}[0-9a-hjkmnp-tv-z]{4}$`)
	plain := regexp.MustCompile(`^[0-9a-hjkmnp-tv-z]{20}$`)
	seen, letters := map[string]bool{}, map[rune]int{}
	const n = 2000
	for range n {
		a, p := NewAppPassword(), NewPassword()
		if !app.MatchString(a) || !plain.MatchString(p) || seen[a] || seen[p] {
			t.Fatalf("%q, %q", a, p)
		}
		seen[a], seen[p] = true, true
		for _, r := range p {
			letters[r]++
		}
	}
	// Every letter is as likely: the deviation of each count stays within six times its standard deviation.
	mean := float64(n*passwordLetters) / float64(len(alphabet))
	for _, r := range alphabet {
		if math.Abs(float64(letters[r])-mean) > 6*math.Sqrt(mean) {
			t.Errorf("%q came %d times, expected about %.0f", r, letters[r], mean)
		}
	}
	if bits := math.Log2(float64(len(alphabet))) * appGroups * appGroupLetters; bits < 80 {
		t.Errorf("an app password has %.0f bits", bits)
	}
}

func TestAppPasswordForgivesTyping(t *testing.T) {
	h := cheapHasher(t, HasherConfig{})
	h.count = func() { t.Error("a slow hash for an app password") }
	const password = "k3vd-0h2t-1abc-9xyz-00q1"
	stored := HashRandom(password)
	for typed, want := range map[string]bool{
		password:                               true,
		strings.ToUpper(password):              true,
		strings.ReplaceAll(password, "-", ""):  true,
		strings.ReplaceAll(password, "-", " "): true,
		"k3vd ohzt":                            false,
		"k3vd-oh2t-labc-9xyz-ooqI":             true,
		"k3vd-0h2t-1abc-9xyz-00q2":             false,
	} {
		got, err := h.Verify(context.Background(), stored, typed)
		if err != nil || got != want {
			t.Errorf("%q: got %v, %v", typed, got, err)
		}
	}
}
