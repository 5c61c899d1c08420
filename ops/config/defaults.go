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

// InForce is the configuration in path as a node would use it: every key with its value, without comments. Loading it again gives the same.
func InForce(path string) (string, error) {
	c, d, err := load(path)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, t := range tables {
		if t.name != "" {
			fmt.Fprintf(&b, "\n[%s]\n", t.name)
		}
		for _, f := range fields {
			if tableOf(f.key) == t.name {
				fmt.Fprintf(&b, "%s = %s\n", lastPart(f.key), literal(d.inForce(c, f)))
			}
		}
	}
	return b.String(), nil
}

// inForce is a key's value: what follows from other keys, what the file says, or the default.
func (d *document) inForce(c *Config, f field) any {
	switch f.key {
	case "data_dir":
		return c.DataDir
	case "cluster.advertise":
		return c.Cluster.Advertise
	case "cluster.gossip_advertise":
		return c.Cluster.GossipAdvertise
	case "tls.cert":
		return c.TLS.Cert
	case "tls.key":
		return c.TLS.Key
	}
	if v, ok := d.given[f.key]; ok {
		return v
	}
	return f.value
}
