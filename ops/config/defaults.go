package config

import (
	"fmt"
	"strings"
)

const commentWidth = 118

// Defaults is a whole configuration file: every key with what it means and its default. Optional keys are commented out; the file can be
// loaded once the values of the required ones are right.
func Defaults() string {
	var b strings.Builder
	for _, t := range tables {
		if t.name != "" {
			b.WriteByte('\n')
		}
		for line := range strings.SplitSeq(t.doc, "\n") {
			comment(&b, line)
		}
		if t.name != "" {
			fmt.Fprintf(&b, "[%s]\n", t.name)
		}
		for _, f := range fields {
			if tableOf(f.key) == t.name {
				f.write(&b)
			}
		}
	}
	return b.String()
}

func (f field) write(b *strings.Builder) {
	b.WriteByte('\n')
	comment(b, f.doc)
	mark := "#"
	if f.required {
		mark = ""
	}
	fmt.Fprintf(b, "%s%s = %s\n", mark, lastPart(f.key), literal(f.value))
}

// comment writes text as comment lines, broken at spaces.
func comment(b *strings.Builder, text string) {
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > commentWidth {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}
