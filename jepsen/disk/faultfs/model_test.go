package faultfs

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
)

// model is a disk with two moments of everything: now, and what is safe.
type model struct {
	root *thing
	n    int
}

// thing is a file or a folder.
type thing struct {
	text, safeText   string
	names, safeNames map[string]*thing // of a folder, nil for a file
}

func newFolder() *thing { return &thing{names: map[string]*thing{}, safeNames: map[string]*thing{}} }

func newModel() *model { return &model{root: newFolder()} }

func (m *model) tree(in *thing, prefix string) map[string]string {
	out := map[string]string{}
	for name, x := range in.names {
		if x.names == nil {
			out[prefix+name] = x.text
			continue
		}
		out[prefix+name] = "/"
		maps.Copy(out, m.tree(x, prefix+name+"/"))
	}
	return out
}

// crash makes the safe moment the present one, or the other way round.
func (m *model) crash(all bool) { settle(m.root, all, map[*thing]bool{}) }

func settle(x *thing, all bool, done map[*thing]bool) {
	if done[x] {
		return
	}
	done[x] = true
	if all {
		x.safeText, x.safeNames = x.text, maps.Clone(x.names)
	} else {
		x.text, x.names = x.safeText, maps.Clone(x.safeNames)
	}
	for _, child := range x.names {
		settle(child, all, done)
	}
}

// folders lists the folders by their paths.
func (m *model) folders() map[string]*thing {
	out := map[string]*thing{".": m.root}
	var walk func(in *thing, prefix string)
	walk = func(in *thing, prefix string) {
		for name, x := range in.names {
			if x.names != nil {
				out[prefix+name] = x
				walk(x, prefix+name+"/")
			}
		}
	}
	walk(m.root, "")
	return out
}

func pick[V any](r *rand.Rand, in map[string]V) (string, V) {
	keys := slices.Sorted(maps.Keys(in))
	if len(keys) == 0 {
		var none V
		return "", none
	}
	k := keys[r.IntN(len(keys))]
	return k, in[k]
}

// differ lists what is not the same.
func differ(got, want map[string]string) (out []string) {
	for name, text := range got {
		if other, ok := want[name]; !ok || other != text {
			out = append(out, fmt.Sprintf("%s: %q, want %q (%v)", name, text, other, ok))
		}
	}
	for name, text := range want {
		if _, ok := got[name]; !ok {
			out = append(out, fmt.Sprintf("%s is not there, want %q", name, text))
		}
	}
	return out
}

// step does one thing on the disk and in the model. Moves stay within a folder, for there both agree on when they are safe.
func (m *model) step(b *bench, r *rand.Rand) {
	dir, in := pick(r, m.folders())
	name, x := pick(r, in.names)
	at := func(name string) string { return b.at(dir + "/" + name) }
	m.n++
	fresh := fmt.Sprintf("%c%d", 'a'+rune(m.n%26), m.n)
	switch r.IntN(9) {
	case 0, 1:
		in.names[fresh] = &thing{text: fresh}
		b.write(dir+"/"+fresh, fresh, false)
	case 2:
		if strings.Count(dir, "/") < 2 {
			in.names[fresh] = newFolder()
			b.must(os.Mkdir(at(fresh), 0o700))
		}
	case 3:
		b.sync(dir)
		in.safeNames = maps.Clone(in.names)
	}
	if x == nil {
		return
	}
	switch r.IntN(8) {
	case 0:
		if len(x.names) == 0 {
			delete(in.names, name)
			b.must(os.Remove(at(name)))
		}
	case 1:
		to := fresh + "m"
		if other, y := pick(r, in.names); x.names == nil && y != nil && y != x && y.names == nil && r.IntN(2) == 0 {
			to = other
		}
		delete(in.names, name)
		in.names[to] = x
		b.must(os.Rename(at(name), at(to)))
	case 2, 3:
		if x.names == nil {
			b.sync(dir + "/" + name)
			x.safeText = x.text
		}
	case 4:
		if x.names == nil {
			x.text += fresh
			f, err := os.OpenFile(at(name), os.O_APPEND|os.O_WRONLY, 0)
			b.must(err)
			_, err = f.WriteString(fresh)
			b.must(err)
			b.must(f.Close())
		}
	case 5:
		if x.names == nil {
			n := r.IntN(len(x.text) + 1)
			x.text = x.text[:n]
			b.must(os.Truncate(at(name), int64(n)))
		}
	case 6:
		if x.names == nil {
			in.names[fresh+"l"] = x
			b.must(os.Link(at(name), at(fresh+"l")))
		}
	}
}
