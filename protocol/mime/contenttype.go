package mime

import (
	"sort"
	"strconv"
	"strings"
)

// parseValue splits a structured value such as Content-Type's into its first token, in lower case, and parameters (RFC 2045 §5.1,
// RFC 2183, RFC 2231). Broken parameters are passed over.
func parseValue(s string) (string, []Param) {
	head, rest := cutToken(s)
	return strings.ToLower(strings.TrimSpace(stripComments(head))), joinParams(rawParams(rest))
}

// cutToken cuts s at the first ";" outside of quotes and comments.
func cutToken(s string) (string, string) {
	quoted, depth := false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && (quoted || depth > 0):
			i++
		case c == '"' && depth == 0:
			quoted = !quoted
		case c == '(' && !quoted:
			depth++
		case c == ')' && !quoted && depth > 0:
			depth--
		case c == ';' && !quoted && depth == 0:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// stripComments removes RFC 5322 comments outside of quotes.
func stripComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b strings.Builder
	quoted, depth := false, 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && (quoted || depth > 0) && i+1 < len(s):
			if depth == 0 {
				b.WriteByte(c)
				b.WriteByte(s[i+1])
			}
			i++
			continue
		case c == '"' && depth == 0:
			quoted = !quoted
		case c == '(' && !quoted:
			depth++
			continue
		case c == ')' && !quoted && depth > 0:
			depth--
			continue
		}
		if depth == 0 {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func rawParams(s string) []Param {
	var out []Param
	for s != "" && len(out) < MaxParams {
		var one string
		one, s = cutToken(s)
		name, value, ok := strings.Cut(stripComments(one), "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || name == "" || strings.ContainsAny(name, " \"") {
			continue
		}
		out = append(out, Param{name, unquote(strings.TrimSpace(value))})
	}
	return out
}

// unquote removes the quotes and escapes of a quoted-string; the end quote may lack.
func unquote(s string) string {
	if !strings.HasPrefix(s, `"`) {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s) && s[i] != '"'; i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// segment is one piece of a parameter in the manner of RFC 2231 §3: name*2*=value.
type segment struct {
	index   int
	encoded bool
	value   string
}

// joinParams joins continuations and decodes extended values (RFC 2231 §3, §4). An extended value wins over a plain one of
// the same name, wherever it stands; of several plain ones the first counts.
func joinParams(raw []Param) []Param {
	segments := make(map[string][]segment)
	var out []Param
	at := make(map[string]int)
	for _, q := range raw {
		name, star, extended := strings.Cut(q.Name, "*")
		if _, seen := at[name]; !seen {
			at[name] = len(out)
			out = append(out, Param{name, q.Value})
		}
		if !extended {
			continue
		}
		index, encoded := strings.CutSuffix(star, "*")
		seg := segment{encoded: encoded || star == "", value: q.Value}
		seg.index, _ = strconv.Atoi(index)
		segments[name] = append(segments[name], seg)
	}
	for name, segs := range segments {
		out[at[name]].Value = joinSegments(segs)
	}
	for i := range out {
		out[i].Value = cleanUTF8(out[i].Value)
	}
	return out
}

// joinSegments puts the pieces in order. The first one, if encoded, tells the charset: charset'language'text.
func joinSegments(segs []segment) string {
	sort.SliceStable(segs, func(i, j int) bool { return segs[i].index < segs[j].index })
	charset := ""
	var b strings.Builder
	for i, s := range segs {
		if !s.encoded {
			b.WriteString(s.value)
			continue
		}
		if i == 0 {
			if parts := strings.SplitN(s.value, "'", 3); len(parts) == 3 {
				charset, s.value = parts[0], parts[2]
			}
		}
		b.WriteString(percentDecode(s.value))
	}
	if charset == "" {
		return b.String()
	}
	return DecodeCharset(charset, []byte(b.String()))
}

func percentDecode(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(n))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

// parseContentType returns type and subtype in lower case. RFC 2045 §5.2: what cannot be read is text/plain in US-ASCII.
func parseContentType(value string) (typ, sub string, params []Param) {
	token, params := parseValue(value)
	typ, sub, ok := strings.Cut(token, "/")
	typ, sub = strings.TrimSpace(typ), strings.TrimSpace(sub)
	if typ == "text" && !ok {
		return "text", "plain", params
	}
	if !isToken(typ) || !isToken(sub) {
		return "", "", nil
	}
	return typ, sub, params
}

// isToken: RFC 2045 §5.1.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, s[i]) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= 127
}
