package filter

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/quorumail/quorumail/protocol/mime"
)

// MaxGap is how many characters a star in a keyword stands for at most. It bounds what must be remembered of a text, and words that are
// farther apart are seldom of one phrase.
const MaxGap = 64

// keyword is a compiled keyword: its segments follow each other with gaps of at most MaxGap characters.
type keyword struct {
	segments []string // folded, white space as one blank
	// wordStart and wordEnd: no letter or digit stands before the first character, or behind the last. They are not asked for where the
	// keyword itself begins or ends with something else: ".exe" in quotes is found in report.exe, not in x.exercise.
	wordStart, wordEnd bool
}

// parseKeyword reads the forms that the package comment lists.
func parseKeyword(pattern string) (keyword, error) {
	s, quoted, err := cutQuotes(strings.TrimSpace(pattern))
	if err != nil {
		return keyword{}, err
	}
	pieces, err := splitStars(s)
	if err != nil {
		return keyword{}, err
	}
	k := keyword{}
	for i, p := range pieces {
		folded := foldKeyword(p)
		if folded == "" {
			continue
		}
		k.segments = append(k.segments, folded)
		k.wordStart = k.wordStart || quoted && i == 0 && isWordRune(firstRune(folded))
		k.wordEnd = quoted && i == len(pieces)-1 && isWordRune(lastRune(folded))
	}
	return k, k.check()
}

// cutQuotes takes the quotes of a whole-word pattern away.
func cutQuotes(s string) (inner string, quoted bool, err error) {
	if !strings.HasPrefix(s, `"`) {
		return s, false, nil
	}
	inner, ok := strings.CutSuffix(s[1:], `"`)
	escapes := len(inner) - len(strings.TrimRight(inner, `\`))
	if !ok || escapes%2 == 1 {
		return "", false, errors.New(`a quote without its end; write \" for a quote to be looked for`)
	}
	return inner, true, nil
}

// splitStars cuts at the stars and takes the escapes away.
func splitStars(s string) ([]string, error) {
	pieces, escaped := []string{""}, false
	for _, r := range s {
		last := len(pieces) - 1
		switch {
		case escaped && r != '*' && r != '"' && r != '\\':
			return nil, fmt.Errorf(`\%c: a backslash stands before a star, a quote or another backslash only`, r)
		case !escaped && r == '\\':
			escaped = true
			continue
		case !escaped && r == '*':
			pieces = append(pieces, "")
		default:
			pieces[last] += string(r)
		}
		escaped = false
	}
	if escaped {
		return nil, errors.New("a backslash at the end escapes nothing")
	}
	return pieces, nil
}

func (k keyword) check() error {
	switch {
	case len(k.segments) == 0:
		return errors.New("the keyword has nothing to look for but wildcards, blanks or marks")
	case len(k.segments) > MaxWildcards+1:
		return fmt.Errorf("%d stars within a keyword, the most is %d", len(k.segments)-1, MaxWildcards)
	}
	for _, s := range k.segments {
		if len(s) > MaxPatternBytes {
			return fmt.Errorf("a keyword of %d bytes when folded, the most is %d", len(s), MaxPatternBytes)
		}
	}
	return nil
}

// foldKeyword is the form in which texts pass through a scanner, trimmed: blanks beside a star mean nothing.
func foldKeyword(s string) string {
	visible := strings.Map(func(r rune) rune {
		if isInvisible(r) {
			return -1
		}
		return r
	}, mime.FoldText(s))
	return strings.Join(strings.FieldsFunc(visible, isBlank), " ")
}

// isInvisible: what is drawn as nothing within a word, though it keeps a program from finding it: joiners, marks of direction, selectors of
// variants, fillers (Unicode's Default_Ignorable_Code_Point, which is made of these).
func isInvisible(r rune) bool {
	return r >= utf8.RuneSelf && unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// isBlank: white space, and control characters, which show as none.
func isBlank(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// isWordRune tells what whole words are made of. Marks that folding leaves belong to the letters before them.
func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) }

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

func lastRune(s string) rune {
	r, _ := utf8.DecodeLastRuneInString(s)
	return r
}
