package filter

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// globRune is one element of a glob: a character, or a wildcard.
type globRune struct {
	r    rune
	kind globKind
}

type globKind uint8

const (
	literal globKind = iota
	one              // ?
	run              // *
)

// glob is a pattern for a whole text with * and ?; a backslash takes their meaning away. A nil glob matches any text.
type glob []globRune

func parseGlob(s string) (glob, error) {
	g := glob{}
	stars, escaped := 0, false
	for _, r := range s {
		switch {
		case escaped:
			g, escaped = append(g, globRune{r: r}), false
		case r == '\\':
			escaped = true
		case r == '?':
			g = append(g, globRune{kind: one})
		case r == '*':
			stars++
			g = append(g, globRune{kind: run})
		default:
			g = append(g, globRune{r: r})
		}
	}
	if escaped {
		return nil, errors.New("a backslash at the end escapes nothing")
	}
	if stars > MaxWildcards {
		return nil, fmt.Errorf("%d stars, the most is %d", stars, MaxWildcards)
	}
	return g, nil
}

func literalGlob(s string) glob {
	g := glob{}
	for _, r := range s {
		g = append(g, globRune{r: r})
	}
	return g
}

// matches walks both; at a mismatch the last star takes one character more. That suffices: what an earlier star could give up, the last
// one can take.
func (g glob) matches(s string) bool {
	if g == nil {
		return true
	}
	i, star, mark := 0, -1, 0
	for k := 0; k < len(s); {
		r, size := utf8.DecodeRuneInString(s[k:])
		switch {
		case i < len(g) && g[i].kind == run:
			star, mark = i, k
			i++
		case i < len(g) && (g[i].kind == one || g[i].r == r):
			i++
			k += size
		case star >= 0:
			_, size = utf8.DecodeRuneInString(s[mark:])
			mark += size
			i, k = star+1, mark
		default:
			return false
		}
	}
	for i < len(g) && g[i].kind == run {
		i++
	}
	return i == len(g)
}
