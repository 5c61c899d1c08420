package filter

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/quorumail/quorumail/protocol/mime"
)

const (
	foldChunk     = 8 << 10 // bytes of text that are folded at once
	excerptBefore = 80      // characters of an excerpt up to the end of what was found
	excerptAfter  = 30      // and behind it
)

// scanner folds texts that are written to it in pieces and leads them through a walk. Its memory is bounded, but for what the walk keeps.
type scanner struct {
	walk   *walk
	buf    []byte // not folded yet
	before []byte // the end of what was: excerpts may begin there

	// excerpts asks for them; they cost folding a piece again.
	excerpts bool
	found    func(keyword int, excerpt string)
	folded   int // bytes of the current piece, folded, that the walk has seen
	current  []byte
}

func newScanner(d *dictionary, excerpts bool) *scanner {
	s := &scanner{excerpts: excerpts}
	s.walk = newWalk(d, func(k int) { s.found(k, s.excerpt()) })
	return s
}

// begin starts a new text, in which the keywords that are wanted matter; each that is found is told once.
func (s *scanner) begin(want func(keyword int) bool, found func(keyword int, excerpt string)) {
	s.found, s.buf, s.before = found, s.buf[:0], s.before[:0]
	s.walk.begin(want)
}

// Write takes the next bytes of UTF-8. It never fails.
func (s *scanner) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := min(len(p), 2*foldChunk-len(s.buf))
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
		if len(s.buf) < 2*foldChunk {
			break
		}
		cut := foldBoundary(s.buf)
		s.look(s.buf[:cut])
		s.buf = s.buf[:copy(s.buf, s.buf[cut:])]
	}
	return total, nil
}

// end says that the text is over.
func (s *scanner) end() {
	s.look(s.buf)
	s.walk.end()
}

// foldBoundary finds where b can be cut so that its two pieces fold to the pieces of what b folds to: before a character of ASCII, which
// joins with nothing before it; else, in a long text of another script, where normalisation allows it; else anywhere.
func foldBoundary(b []byte) int {
	for i := len(b) - 1; i >= len(b)/2; i-- {
		if b[i] < utf8.RuneSelf {
			return i
		}
	}
	if i := norm.NFKC.LastBoundary(b); i > 0 {
		return i
	}
	return len(b)
}

// look takes one piece.
func (s *scanner) look(b []byte) {
	s.current, s.folded = b, 0
	for _, r := range mime.FoldText(string(b)) {
		s.walk.rune(r)
		s.folded += utf8.RuneLen(r)
	}
	if s.excerpts {
		s.before = append(s.before, b[max(0, len(b)-4*excerptBefore):]...)
		s.before = s.before[max(0, len(s.before)-4*excerptBefore):]
	}
	s.current, s.folded = nil, 0
}

// excerpt is the original text around what was just found.
func (s *scanner) excerpt() string {
	if !s.excerpts {
		return ""
	}
	end := s.original()
	text := append(append([]byte{}, s.before...), s.current...)
	end += len(s.before)
	before, after := []rune(string(text[:end])), []rune(string(text[end:min(len(text), end+4*excerptAfter)]))
	if len(before) > excerptBefore {
		before = before[len(before)-excerptBefore:]
	}
	if len(after) > excerptAfter {
		after = after[:excerptAfter]
	}
	return printable(string(before) + string(after))
}

// original finds the place in the piece up to which the walk has come: the shortest beginning that folds to as many bytes and one more
// character, the one that it looks at.
func (s *scanner) original() int {
	low, high := 0, len(s.current)
	for low < high {
		mid := (low + high) / 2
		for mid > low && !utf8.RuneStart(s.current[mid]) {
			mid--
		}
		if len(mime.FoldText(string(s.current[:mid]))) > s.folded {
			high = mid
			continue
		}
		_, size := utf8.DecodeRune(s.current[mid:])
		low = mid + size
	}
	return min(low, len(s.current))
}

// printable is s on one line, without what a terminal might obey.
func printable(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), isBlank), " ")
}
