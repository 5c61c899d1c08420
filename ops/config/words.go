package config

import (
	"fmt"
	"strconv"
	"strings"
)

// sameType tells whether a value of the file has the type that the table wants. A number may stand where a text with a unit does not.
func sameType(got, want any) bool {
	switch want.(type) {
	case string:
		_, ok := got.(string)
		return ok
	case bool:
		_, ok := got.(bool)
		return ok
	case int64:
		_, ok := got.(int64)
		return ok
	}
	return false
}

// describe names the type of a value as a person would.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return "a text in quotes"
	case bool:
		return "true or false"
	case int64:
		return "a whole number"
	case float64:
		return "a number with a fraction"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	default:
		return fmt.Sprintf("a %T", v)
	}
}

// literal writes a value as it stands in a file.
func literal(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case bool:
		return strconv.FormatBool(v)
	default:
		return fmt.Sprint(v)
	}
}

// quote writes a TOML basic string. Values in our table are printable, so that Go's rules and TOML's agree.
func quote(s string) string { return strconv.Quote(s) }

// example is a value that shows what could stand there.
func (f field) example() any {
	if f.value != "" {
		return f.value
	}
	switch {
	case strings.HasPrefix(f.key, "tls."):
		return "/etc/quorumail/" + lastPart(f.key) + ".pem"
	case f.key == "listeners.lmtp":
		return "127.0.0.1:24"
	}
	return "192.0.2.1:7400"
}

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

func tableOf(key string) string { return key[:max(0, strings.LastIndexByte(key, '.'))] }

func underTable(key string) string {
	if t := tableOf(key); t != "" {
		return " under [" + t + "]"
	}
	return " above the first [table]"
}

// unknown says what may have been meant by a key that there is not: one misspelt, or one that stands under the wrong table.
func unknown(key string, v any) string {
	what := "unknown key"
	if _, ok := v.(map[string]any); ok {
		what = "unknown table"
		var names []string
		for _, t := range tables[1:] {
			names = append(names, t.name)
		}
		return what + didYouMean(key, names)
	}
	var near []string
	for _, f := range fields {
		switch {
		case lastPart(f.key) == lastPart(key):
			return fmt.Sprintf("%s; %q belongs%s", what, lastPart(key), underTable(f.key))
		case tableOf(f.key) == tableOf(key):
			near = append(near, lastPart(f.key))
		}
	}
	if s := didYouMean(lastPart(key), near); s != "" {
		return what + s
	}
	for _, s := range Settings() {
		if s.Name == key || strings.HasSuffix(s.Name, "."+lastPart(key)) {
			return fmt.Sprintf("%s; it is the same for the whole cluster: quorumail set %s VALUE", what, s.Name)
		}
	}
	return fmt.Sprintf("%s; known here are %s", what, strings.Join(near, ", "))
}

// didYouMean proposes the word nearest to s, or nothing if none is near.
func didYouMean(s string, words []string) string {
	best, at := "", 1+max(2, len(s)/3)
	for _, w := range words {
		if n := distance(strings.ToLower(s), w); n < at {
			best, at = w, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance counts the letters to insert, remove or replace between a and b (Levenshtein).
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
