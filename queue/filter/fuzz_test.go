package filter

import (
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/protocol/smtp"
)

// naively looks for a keyword in the simplest way: the whole text folded at once, and a regular expression.
func naively(t testing.TB, k keyword, text string) bool {
	t.Helper()
	visible := strings.Map(func(r rune) rune {
		if isInvisible(r) {
			return -1
		}
		return r
	}, mime.FoldText(text))
	folded := strings.Join(strings.FieldsFunc(visible, isBlank), " ")
	var parts []string
	for _, s := range k.segments {
		parts = append(parts, regexp.QuoteMeta(s))
	}
	expr := strings.Join(parts, `.{0,64}`)
	const edge = `[^\pL\pN\pM]`
	if k.wordStart {
		expr = `(?:^|` + edge + `)` + expr
	}
	if k.wordEnd {
		expr += `(?:$|` + edge + `)`
	}
	return regexp.MustCompile(expr).MatchString(folded)
}

// scanned looks for keywords as a RuleSet does, in pieces of random length.
func scanned(keywords []keyword, before, text string, r *rand.Rand) map[int]bool {
	found := map[int]bool{}
	s := newScanner(newDictionary(keywords), true)
	s.begin(func(int) bool { return true }, func(int, string) {})
	_, _ = io.WriteString(s, before) // of another text nothing is left
	s.end()
	s.begin(func(int) bool { return true }, func(k int, _ string) { found[k] = true })
	for len(text) > 0 {
		n := 1 + r.IntN(len(text))
		_, _ = io.WriteString(s, text[:n]) // never fails
		text = text[n:]
	}
	s.end()
	return found
}

// FuzzKeyword: what the automaton finds in pieces of a text is what a regular expression finds in the whole.
func FuzzKeyword(f *testing.F) {
	for _, s := range [][3]string{
		{"tiền thưởng", "TIEN\r\n  THƯỞNG", "x"}, {`"an*`, `"an*"`, "xan an1 anh"}, {"a*b*c", "abcabc", "b a c"}, {`\*\"`, `a*"b`, `*"`}, {"é", "e\u0301", "\u0301"},
		{"ab", "aab", "b*a"}, {`"a b"`, "a b", "xa b"}, {"가", "\u1100\u1161", "한"}, {"ﬁ", "fi", "FI"}, {"a\u2060b", "\u200eab\u180e", `"\ufe0fa"`}, {"a*a*a", strings.Repeat("a ", 100), "aa"}, {`"*b"`, "ab", "abc"},
	} {
		f.Add(s[0], s[1], s[2], uint64(1))
	}
	f.Fuzz(func(t *testing.T, pattern, text, other string, seed uint64) {
		var keywords []keyword
		for _, p := range []string{pattern, other} {
			if k, err := parseKeyword(p); err == nil && len(p) <= MaxPatternBytes {
				keywords = append(keywords, k)
			}
		}
		if !utf8.ValidString(text) {
			return // decoded text is UTF-8
		}
		r := rand.New(rand.NewPCG(seed, 0))
		// Long enough to be folded in pieces.
		if seed%4 == 0 {
			text = strings.Repeat("xyz ", r.IntN(6000)) + text
		}
		found := scanned(keywords, other, text, r)
		for i, k := range keywords {
			if want := naively(t, k, text); found[i] != want {
				t.Fatalf("%+v in %q: %v, naively %v", k, text, found[i], want)
			}
		}
	})
}

// FuzzRule: whatever is compiled can be matched, and what an address pattern without wildcards matches is what it names.
func FuzzRule(f *testing.F) {
	for _, s := range [][3]string{
		{FieldSender, "*.example.org", "an@a.example.org"}, {FieldSender, `"a b"@example.org`, `"a b"@example.org`}, {FieldRecipient, "b?c*@*.b*cher.test", "bxc@a.bücher.test"},
		{FieldClient, "2001:db8::/32", "a@b"}, {FieldClient, "1.2.3.4", "a@b"}, {FieldBody, `"x*y"`, "a@b"}, {FieldHeader, "*", "a@b"}, {FieldFrom, "<>", "a@b"}, {FieldAttachment, `.exe"`, "a@b"}, {FieldSender, `\*@b`, `*@b`},
	} {
		f.Add(s[0], s[1], s[2], []byte("From: "+s[2]+"\r\nSubject: "+s[1]+"\r\n\r\n"+s[1]))
	}
	f.Fuzz(func(t *testing.T, field, pattern, from string, content []byte) {
		r := Rule{ID: "r", Action: Block, Field: field, Pattern: pattern}
		if field == FieldHeader {
			r.Header = "*"
		}
		s, err := Compile([]Rule{r})
		if err != nil {
			return
		}
		m := message(t, string(content))
		sender, err := smtp.ParseAddress(from)
		if err == nil {
			m.From, m.Recipients = sender, []smtp.Address{sender}
		}
		v, err1 := s.Check(t.Context(), m)
		e, err2 := s.Explain(t.Context(), m)
		if err1 != nil || err2 != nil || v.Action != e.Verdict.Action || (len(e.Matches) == 1) != (v.Action == Reject) {
			t.Fatalf("%+v: %+v, %v; %+v, %v", r, v, err1, e, err2)
		}
		for _, match := range e.Matches {
			if strings.ContainsAny(match.Excerpt, "\r\n\x1b") || !utf8.ValidString(match.Excerpt) {
				t.Fatalf("excerpt %q", match.Excerpt)
			}
		}
		named, err := smtp.ParseAddress(strings.TrimSpace(pattern))
		if field == FieldSender && err == nil && !hasWildcard(pattern) && (named.Canonical() == m.From.Canonical()) != (v.Action == Reject) {
			t.Fatalf("%q names %q, of %q it says %v", pattern, named, m.From, v.Action)
		}
	})
}

// FuzzGlob: a glob is what a regular expression makes of it.
func FuzzGlob(f *testing.F) {
	for _, s := range [][2]string{{"a*b?c", "axxbyc"}, {"*", ""}, {"**a", "ba"}, {`\*`, "*"}, {"?", "é"}, {"a*a*a", "aaa"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		g, err := parseGlob(pattern)
		if err != nil || !utf8.ValidString(pattern) || !utf8.ValidString(text) {
			return
		}
		expr := `(?s)^`
		for _, e := range g {
			expr += map[globKind]string{literal: regexp.QuoteMeta(string(e.r)), one: ".", run: ".*"}[e.kind]
		}
		if want := regexp.MustCompile(expr + `$`).MatchString(text); g.matches(text) != want {
			t.Fatalf("%q of %q: %v", pattern, text, !want)
		}
	})
}
