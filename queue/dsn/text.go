package dsn

import (
	"fmt"
	"io"
	"mime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// clean makes one line of s without control characters or what changes the direction of text, of at most max bytes.
func clean(s string, max int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.IsSpace(r):
			return ' '
		case unicode.In(r, unicode.Bidi_Control), r == utf8.RuneError:
			return '?'
		}
		return r
	}, strings.ToValidUTF8(cut(s, 4*max), "?"))
	return cut(strings.Join(strings.Fields(s), " "), max)
}

// cut shortens s to at most max bytes, not within a character.
func cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}

// asciiText is clean with a question mark for each character that is not ASCII.
func asciiText(s string, max int) string {
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, clean(s, max))
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// fields writes header fields.
type fields struct {
	w   io.Writer
	err error
}

// add writes a field, unless there is nothing to say.
func (f *fields) add(name, value string) {
	if value != "" {
		f.raw(name + ": " + value + "\r\n")
	}
}

// text writes a field with words for people, encoded where they are not ASCII (RFC 2047), folded between encoded-words.
func (f *fields) text(name, value string) {
	f.add(name, strings.ReplaceAll(mime.BEncoding.Encode("utf-8", value), "?= =?", "?=\r\n =?"))
}

// folded writes a field whose value may be long; it is folded at blanks (RFC 5322 §2.2.3).
func (f *fields) folded(name, value string) {
	line, empty := name+":", true
	for _, word := range strings.Fields(value) {
		if !empty && len(line)+1+len(word) > 76 {
			f.raw(line + "\r\n")
			line = "   "
		}
		// A word that fills a line by itself is cut: no line may have more than 998 characters (RFC 5322 §2.1.1).
		line, empty = line+" "+cut(word, 900), false
	}
	f.raw(line + "\r\n")
}

func (f *fields) time(name string, t time.Time) {
	if !t.IsZero() {
		f.add(name, t.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	}
}

func (f *fields) end() { f.raw("\r\n") }

func (f *fields) raw(s string) {
	if f.err == nil {
		_, f.err = io.WriteString(f.w, s)
	}
}

// mailbox is a name-addr (RFC 5322 §3.4).
func mailbox(name string, a smtp.Address, utf8 bool) string {
	name = clean(name, 100)
	if isASCII(name) {
		name = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	} else {
		name = mime.QEncoding.Encode("utf-8", name)
	}
	return name + " <" + a.Wire(utf8) + ">"
}

// messageID returns s if it can stand in References, else "".
func messageID(s string) string {
	s = strings.TrimSpace(s)
	if len(s) < 3 || len(s) > 500 || s[0] != '<' || s[len(s)-1] != '>' {
		return ""
	}
	for i := 1; i < len(s)-1; i++ {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '<' || s[i] == '>' {
			return ""
		}
	}
	return s
}

// typedAddress is an address with its type, as delivery-status has it: rfc822 where that can be, else utf-8 (RFC 6533 §3), raw or, in 7 bits,
// as utf-8-addr-xtext.
func typedAddress(a smtp.Address, raw bool) string {
	if !a.NeedsUTF8() {
		return "rfc822; " + a.Wire(false)
	}
	if raw {
		return "utf-8; " + a.Wire(true)
	}
	return "utf-8; " + addrXtext(a.Wire(true))
}

// addrXtext: RFC 6533 §3, QCHAR is printable ASCII but for backslash, plus and equals sign.
func addrXtext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r <= ' ' || r > '~' || r == '\\' || r == '+' || r == '=' {
			fmt.Fprintf(&b, `\x{%02X}`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// originalRecipient is what ORCPT said, "" if it is not of the form type;address (RFC 3461 §4.2).
func originalRecipient(s string, raw bool) string {
	kind, address, ok := strings.Cut(clean(s, 500), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	address = strings.TrimSpace(address)
	if !ok || kind == "" || address == "" || strings.Trim(kind, idText) != "" {
		return ""
	}
	if !isASCII(address) {
		kind = "utf-8" // the only type that can have it, whatever the sender called it
	}
	if kind == "utf-8" && !raw {
		return "utf-8; " + addrXtext(address) // also of ASCII: a plus sign, for instance, is escaped there
	}
	return kind + "; " + address
}
