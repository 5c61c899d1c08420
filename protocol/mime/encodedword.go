package mime

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// DecodeHeader returns an unfolded header value with its encoded-words decoded to UTF-8 (RFC 2047). What is no proper
// encoded-word stays as it is; bytes that are not UTF-8 are taken for Windows-1252.
func DecodeHeader(s string) string {
	if !strings.Contains(s, "=?") {
		return cleanUTF8(s)
	}
	var d wordDecoder
	for len(s) > 0 {
		i := strings.Index(s, "=?")
		if i < 0 {
			break
		}
		n := encodedWordLen(s[i:])
		if n == 0 {
			d.text(s[:i+2])
			s = s[i+2:]
			continue
		}
		d.text(s[:i])
		if !d.word(s[i : i+n]) {
			d.text(s[i : i+n])
		}
		s = s[i+n:]
	}
	d.text(s)
	d.flush()
	return d.out.String()
}

// encodedWordLen returns the length of the encoded-word that s begins with: =?charset?encoding?text?=. Blanks in the text are let
// pass in the Q encoding, as some senders leave them.
func encodedWordLen(s string) int {
	if !strings.HasPrefix(s, "=?") {
		return 0
	}
	a := strings.IndexByte(s[2:], '?') + 2
	if a < 3 || len(s) < a+3 || s[a+2] != '?' || strings.ContainsAny(s[2:a], " \t\"") {
		return 0
	}
	if c := s[a+1] | 0x20; c != 'b' && c != 'q' {
		return 0
	}
	end := strings.Index(s[a+3:], "?=")
	if end < 0 || strings.Contains(s[a+3:a+3+end], "=?") {
		return 0
	}
	return a + 3 + end + 2
}

// wordDecoder joins neighbouring encoded-words of one charset before it decodes their text: characters are often cut in two.
type wordDecoder struct {
	out     strings.Builder
	charset string
	pending []byte
	blank   string // blanks after a word: they vanish before another one (RFC 2047 §6.2)
	inWord  bool
}

func (d *wordDecoder) text(s string) {
	if d.inWord && strings.Trim(s, " \t\r\n") == "" {
		d.blank += s
		return
	}
	d.flush()
	d.out.WriteString(cleanUTF8(s))
}

func (d *wordDecoder) word(w string) bool {
	parts := strings.SplitN(w[2:len(w)-2], "?", 3)
	var raw []byte
	if parts[1] == "b" || parts[1] == "B" {
		var err error
		text := strings.TrimRight(strings.NewReplacer(" ", "", "\t", "").Replace(parts[2]), "=")
		if raw, err = base64.RawStdEncoding.DecodeString(text); err != nil {
			return false
		}
	} else {
		raw = decodeQ(parts[2])
	}
	charset := strings.ToLower(parts[0])
	if d.inWord && charset != d.charset {
		d.blank = ""
		d.flush()
	}
	d.blank, d.charset, d.inWord = "", charset, true
	d.pending = append(d.pending, raw...)
	return true
}

func (d *wordDecoder) flush() {
	if d.inWord {
		d.out.WriteString(DecodeCharset(d.charset, d.pending))
		d.out.WriteString(d.blank)
	}
	d.pending, d.blank, d.inWord = d.pending[:0], "", false
}

// decodeQ: RFC 2047 §4.2.
func decodeQ(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '_':
			out = append(out, ' ')
		case '=':
			if i+2 < len(s) {
				if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
					out = append(out, byte(n))
					i += 2
					continue
				}
			}
			out = append(out, c)
		default:
			out = append(out, c)
		}
	}
	return out
}
