package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Error is one thing that is wrong in a configuration file.
type Error struct {
	Path string // the file
	Line int    // from 1; 0 when something is missing altogether
	Key  string // with its table, as "cluster.listen"; "" when the text is no TOML
	Text string // what is wrong, and what would be right
}

// Error implements error: "node.toml:12: cluster.listen: …".
func (e Error) Error() string {
	s := e.Path + ":"
	if e.Line > 0 {
		s += fmt.Sprintf("%d:", e.Line)
	}
	if e.Key != "" {
		s += " " + e.Key + ":"
	}
	return s + " " + e.Text
}

// Errors is everything that is wrong in a configuration file, in the order of its lines. It is never empty.
type Errors []Error

// Error implements error: one line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// document is a file that is being understood.
type document struct {
	path   string
	values map[string]any // by key with its table; fill takes out what it knows
	given  map[string]any // of those, the ones that fill knew
	lines  map[string]int // of keys and of tables
	errs   Errors
}

// read parses the text and finds out where each key stands. An error is about the text as TOML.
func read(path string, text []byte) (*document, error) {
	d := &document{path: path, values: map[string]any{}, given: map[string]any{}, lines: map[string]int{}}
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return nil, d.syntax(err)
	}
	d.locate(text)
	d.flatten("", tree)
	return d, nil
}

func (d *document) syntax(err error) error {
	line := 0
	var de *toml.DecodeError
	if errors.As(err, &de) {
		line, _ = de.Position()
	}
	return Errors{{Path: d.path, Line: line, Text: strings.TrimPrefix(err.Error(), "toml: ") + ` (a line is key = "value", or [table])`}}
}

// locate notes the line of each key. The text was parsed once without error, so that there is none to expect here.
func (d *document) locate(text []byte) {
	var p unstable.Parser
	p.Reset(text)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = d.note(&p, "", e)
		case unstable.KeyValue:
			d.noteValue(&p, table, e)
		}
	}
}

// noteValue notes a key and, when its value is an inline table, the keys in it.
func (d *document) noteValue(p *unstable.Parser, table string, e *unstable.Node) {
	key := d.note(p, table, e)
	if value := e.Value(); value.Kind == unstable.InlineTable {
		for it := value.Children(); it.Next(); {
			if n := it.Node(); n.Kind == unstable.KeyValue {
				d.noteValue(p, key, n)
			}
		}
	}
}

// note notes the line of each part of e's key below the prefix, and returns the whole key.
func (d *document) note(p *unstable.Parser, prefix string, e *unstable.Node) string {
	key := prefix
	for it := e.Key(); it.Next(); {
		n := it.Node()
		key = join(key, string(n.Data))
		if d.lines[key] == 0 {
			d.lines[key] = p.Shape(n.Raw).Start.Line
		}
	}
	return key
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// flatten makes one level of the tables that we know. What stands under names that we do not know is reported once, not key by key.
func (d *document) flatten(prefix string, tree map[string]any) {
	for name, v := range tree {
		key := join(prefix, name)
		isTable := slices.ContainsFunc(tables, func(t struct{ name, doc string }) bool { return t.name == key })
		sub, ok := v.(map[string]any)
		switch {
		case isTable && ok:
			d.flatten(key, sub)
		case isTable:
			d.report(key, fmt.Sprintf("is a table: write [%s] on a line of its own, and its keys below", key))
		default:
			d.values[key] = v
		}
	}
}

func (d *document) report(key, text string) {
	d.errs = append(d.errs, Error{Path: d.path, Line: d.lines[key], Key: key, Text: text})
}

// fill sets every field of c, from the file or from its default, and reports what cannot be.
func (d *document) fill(c *Config) {
	for _, f := range fields {
		v, ok := d.values[f.key]
		delete(d.values, f.key)
		switch {
		case !ok && f.required:
			d.report(f.key, fmt.Sprintf("is missing: add %s = %s%s", lastPart(f.key), literal(f.value), underTable(f.key)))
			continue
		case !ok:
			v = f.value
		case !sameType(v, f.value):
			d.report(f.key, fmt.Sprintf("is %s, and must be %s, such as %s", describe(v), describe(f.value), literal(f.example())))
			continue
		}
		if ok {
			d.given[f.key] = v
		}
		if err := f.set(c, v); err != nil {
			d.report(f.key, err.Error())
		}
	}
	for key, v := range d.values {
		d.report(key, unknown(key, v))
	}
}

func (d *document) sorted() Errors {
	slices.SortStableFunc(d.errs, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	return d.errs
}
