package mime

import (
	"strings"
	"sync"
	"unicode/utf8"
)

// latinBlocks are those of which most mail in Latin letters consists, Vietnamese among them: Latin with its supplements and combining
// marks, Latin Extended Additional, and General Punctuation up to its format characters. In a text of these alone each character folds
// by itself: all marks go, and without marks nothing is composed.
var latinBlocks = [...]struct{ first, last rune }{{0x80, 0x36F}, {0x1E00, 0x1EFF}, {0x2000, 0x2027}}

// latinTable has foldAny of each character of latinBlocks, one block behind the other.
var latinTable = sync.OnceValue(func() []string {
	var table []string
	for _, b := range latinBlocks {
		for r := b.first; r <= b.last; r++ {
			table = append(table, foldAny(string(r)))
		}
	}
	return table
})

// foldLatin is FoldText, many times faster, for texts of ASCII and latinBlocks; false for others.
func foldLatin(s string) (string, bool) {
	table := latinTable()
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			b.WriteByte(c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		at := latinIndex(r)
		if at < 0 {
			return "", false
		}
		b.WriteString(table[at])
		i += n
	}
	return b.String(), true
}

// latinIndex is the place of a character in latinTable, or -1.
func latinIndex(r rune) int {
	before := 0
	for _, b := range latinBlocks {
		if b.first <= r && r <= b.last {
			return before + int(r-b.first)
		}
		before += int(b.last-b.first) + 1
	}
	return -1
}
