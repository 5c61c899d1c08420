package mime

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// FoldText returns s in the form in which texts are compared in searches: compatibility characters replaced, case folded,
// diacritics of the Latin, Greek and Cyrillic scripts removed, and đ as d. So "Đường" and "duong" are equal, as Vietnamese who type without marks
// expect. Marks that make another letter in other scripts (Japanese, Thai, Indic) stay.
func FoldText(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	if folded, ok := foldLatin(s); ok {
		return folded
	}
	return foldAny(s)
}

// foldAny is FoldText for texts of any script.
func foldAny(s string) string {
	s = cases.Fold().String(strings.ToValidUTF8(s, "\uFFFD"))
	s = norm.NFKD.String(s)
	s = strings.Map(foldRune, s)
	// Compatibility forms may decompose to capitals; Hangul and kana are joined again.
	return cases.Fold().String(norm.NFKC.String(s))
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func foldRune(r rune) rune {
	switch {
	case r < 0x80:
		return r
	case isDiacritic(r), r == 0x00AD, r == 0x200B, r == 0x200C, r == 0x200D, r == 0xFEFF: // soft hyphen, zero widths
		return -1
	}
	switch r {
	case 'đ', 'Đ', 'ð', 'Ð':
		return 'd'
	case 'ø', 'Ø':
		return 'o'
	case 'ł', 'Ł':
		return 'l'
	case 'ı':
		return 'i'
	}
	if unicode.Is(unicode.Zs, r) {
		return ' '
	}
	return r
}

// isDiacritic: the blocks of combining diacritical marks.
func isDiacritic(r rune) bool {
	return r >= 0x0300 && r <= 0x036F || r >= 0x1AB0 && r <= 0x1AFF || r >= 0x1DC0 && r <= 0x1DFF ||
		r >= 0x20D0 && r <= 0x20FF || r >= 0xFE20 && r <= 0xFE2F
}

// ContainsFolded tells whether text contains needle, both folded.
func ContainsFolded(text, needle string) bool {
	return strings.Contains(FoldText(text), FoldText(needle))
}

// Matcher looks for a text in a stream of UTF-8, compared by FoldText. Its memory is bounded by the needle's
// length. It is an io.Writer whose Write never fails.
type Matcher struct {
	needle []byte
	buf    []byte // not folded yet
	folded []byte // the end of what was folded: a match may begin there
	found  bool
}

// NewMatcher returns a Matcher for needle. An empty needle matches everything.
func NewMatcher(needle string) *Matcher {
	folded := []byte(FoldText(needle))
	return &Matcher{needle: folded, found: len(folded) == 0}
}

const matchChunk = 8 << 10

// Write looks at the next piece of the text.
func (m *Matcher) Write(p []byte) (int, error) {
	total := len(p)
	for !m.found && len(p) > 0 {
		n := min(len(p), 2*matchChunk-len(m.buf))
		m.buf = append(m.buf, p[:n]...)
		p = p[n:]
		if len(m.buf) < matchChunk {
			continue
		}
		// Cut where no character and its marks are divided.
		cut := norm.NFKD.LastBoundary(m.buf)
		if cut <= 0 {
			if len(m.buf) < 2*matchChunk {
				continue
			}
			cut = len(m.buf)
		}
		m.look(m.buf[:cut])
		m.buf = m.buf[:copy(m.buf, m.buf[cut:])]
	}
	return total, nil
}

// look folds b, which it may change to what folds to the same, and looks at it and what was before.
func (m *Matcher) look(b []byte) {
	if lowerASCII(b) {
		m.folded = append(m.folded, b...)
	} else {
		m.folded = append(m.folded, FoldText(string(b))...)
	}
	m.found = bytes.Contains(m.folded, m.needle)
	keep := min(len(m.folded), len(m.needle)-1)
	m.folded = m.folded[:copy(m.folded, m.folded[len(m.folded)-keep:])]
}

// lowerASCII is FoldText for ASCII, in place; false, with b as it was, where there is more in it.
func lowerASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return true
}

// Matched tells whether what was written so far contains the needle.
func (m *Matcher) Matched() bool {
	if !m.found && len(m.buf) > 0 {
		before := bytes.Clone(m.folded)
		m.look(m.buf)
		m.folded = append(m.folded[:0], before...) // more may follow
	}
	return m.found
}
