package mime

import (
	"bytes"
	"io"
	"strings"
	"unicode"
)

// previewSource is how many raw bytes of a text a preview is made from: HTML often begins with long styles.
const (
	previewSourcePlain = 4 << 10
	previewSourceHTML  = 24 << 10
)

// makePreview returns the first PreviewRunes characters of the text that begins with raw, blanks and line ends made one.
func makePreview(p *Part, raw []byte) string {
	text, _ := io.ReadAll(io.LimitReader(DecodePart(p, bytes.NewReader(raw)), previewSourceHTML))
	var b strings.Builder
	n, blank := 0, false
	for _, r := range string(text) {
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == 0x200B || r == 0x200C || r == 0xFEFF || r == 0x034F || r == 0x00AD {
			blank = true
			continue
		}
		if r == unicode.ReplacementChar {
			continue // the source may be cut inside a character
		}
		if blank && n > 0 {
			b.WriteByte(' ')
			n++
		}
		if n >= PreviewRunes {
			break
		}
		blank = false
		b.WriteRune(r)
		n++
	}
	return strings.TrimSpace(b.String())
}
