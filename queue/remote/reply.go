package remote

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// reply is what a server answered.
type reply struct {
	code     int
	enhanced string   // as sent, if it fits the code; else the code's class and .0.0
	text     string   // fit to be shown and kept
	lines    []string // as sent, without code: for EHLO
}

// maxText bounds the text of a reply that is kept, in bytes.
const maxText = 1000

var errReply = errors.New("not an SMTP reply")

// replyLine cuts one line of a reply (RFC 5321 §4.2): three digits, a hyphen if more follow, text.
func replyLine(line string) (code int, more bool, text string, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || line[1] < '0' || line[1] > '9' || line[2] < '0' || line[2] > '9' {
		return 0, false, "", fmt.Errorf("%w: %q", errReply, shown(line, 80))
	}
	code, _ = strconv.Atoi(line[:3])
	if len(line) == 3 {
		return code, false, "", nil
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, "", fmt.Errorf("%w: %q", errReply, shown(line, 80))
	}
	return code, line[3] == '-', line[4:], nil
}

// newReply puts the lines together.
func newReply(code int, lines []string) reply {
	r := reply{code: code, lines: lines, enhanced: strconv.Itoa(code/100) + ".0.0"}
	texts := make([]string, 0, len(lines))
	for i, line := range lines {
		// RFC 2034 §4: each line begins with the code. Some servers give it on the first alone.
		if e, rest, ok := cutEnhanced(line); ok && int(e[0]-'0') == code/100 {
			if i == 0 {
				r.enhanced = e
			}
			line = rest
		}
		if line = strings.TrimSpace(line); line != "" {
			texts = append(texts, line)
		}
	}
	r.text = shown(strings.Join(texts, " "), maxText)
	return r
}

// cutEnhanced reads "5.1.1 " at the start of a text: class 2, 4 or 5, then two numbers of up to three digits (RFC 3463 §2).
func cutEnhanced(text string) (code, rest string, ok bool) {
	code, rest, _ = strings.Cut(text, " ")
	parts := strings.Split(code, ".")
	if len(parts) != 3 || parts[0] != "2" && parts[0] != "4" && parts[0] != "5" {
		return "", "", false
	}
	for _, p := range parts[1:] {
		if len(p) < 1 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return "", "", false
		}
	}
	return code, rest, true
}

// shown makes any bytes fit for logs, notices and terminals: printable, UTF-8, at most limit bytes.
func shown(s string, limit int) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\t':
			r = ' '
		case r != utf8.RuneError && !unicode.IsPrint(r): // leaves out controls and marks that turn the direction of text
			r = '?'
		}
		if b.Len()+utf8.RuneLen(r) > limit {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
