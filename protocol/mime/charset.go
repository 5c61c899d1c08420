package mime

import (
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/transform"
)

// charsetOf returns the encoding with the given name, nil for UTF-8 and US-ASCII; ok is false for an unknown name.
func charsetOf(name string) (enc encoding.Encoding, ok bool) {
	name, _, _ = strings.Cut(strings.ToLower(strings.Trim(strings.TrimSpace(name), `"'`)), "*") // RFC 2231 §5: charset*language
	switch name {
	case "", "utf-8", "utf8", "us-ascii", "ascii", "ansi_x3.4-1968":
		return nil, true
	case "viscii", "csviscii", "viscii1.1-1":
		return viscii(), true
	case "tcvn", "tcvn5712-1", "tcvn-5712", "tcvn5712-1:1993", "x-viet-tcvn", "x-viet-tcvn5712":
		return tcvn(), true
	}
	if e, err := htmlindex.Get(name); err == nil {
		return e, e != encoding.Replacement
	}
	for _, alias := range []string{name, strings.Replace(name, "cp", "windows-", 1), strings.Replace(name, "iso", "iso-", 1)} {
		if e, err := ianaindex.MIME.Encoding(alias); err == nil && e != nil {
			return e, true
		}
		if e, err := htmlindex.Get(alias); err == nil && e != encoding.Replacement {
			return e, true
		}
	}
	return nil, false
}

// KnownCharset tells whether text in the named charset can be decoded.
func KnownCharset(name string) bool {
	_, ok := charsetOf(name)
	return ok && name != ""
}

// DecodeCharset returns text in the named charset as UTF-8. In an unknown charset, or where it is not what it says, bytes
// that are no UTF-8 are taken for Windows-1252.
func DecodeCharset(name string, text []byte) string {
	enc, ok := charsetOf(name)
	if !ok || enc == nil {
		return cleanUTF8(string(text))
	}
	out, err := enc.NewDecoder().Bytes(text)
	if err != nil {
		return cleanUTF8(string(text))
	}
	return string(out)
}

// cleanUTF8 returns valid UTF-8 as it is and takes anything else for Windows-1252.
func cleanUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	out, err := charmap.Windows1252.NewDecoder().String(s)
	if err != nil {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return out
}

// charsetReader is DecodeCharset for a stream.
func charsetReader(name string, r io.Reader) io.Reader {
	enc, ok := charsetOf(name)
	if !ok || enc == nil {
		return transform.NewReader(r, &lenientUTF8{})
	}
	return transform.NewReader(r, enc.NewDecoder())
}

// lenientUTF8 passes UTF-8 and decodes each byte that is none as Windows-1252.
type lenientUTF8 struct{ transform.NopResetter }

// Transform implements transform.Transformer.
func (*lenientUTF8) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if n := asciiRun(src[nSrc:min(len(src), nSrc+len(dst)-nDst)]); n > 0 {
			copy(dst[nDst:], src[nSrc:nSrc+n])
			nDst, nSrc = nDst+n, nSrc+n
			continue
		}
		r, n := rune(src[nSrc]), 1
		if r >= utf8.RuneSelf {
			if !atEOF && !utf8.FullRune(src[nSrc:]) {
				return nDst, nSrc, transform.ErrShortSrc
			}
			if r, n = utf8.DecodeRune(src[nSrc:]); r == utf8.RuneError && n == 1 {
				r = charmap.Windows1252.DecodeByte(src[nSrc])
			}
		}
		if nDst+utf8.RuneLen(r) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += n
	}
	return nDst, nSrc, nil
}

// asciiRun is how many bytes at the beginning are ASCII.
func asciiRun(b []byte) int {
	for i, c := range b {
		if c >= utf8.RuneSelf {
			return i
		}
	}
	return len(b)
}
