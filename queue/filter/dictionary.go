package filter

import (
	"slices"
	"unicode/utf8"
)

// dictionary is an Aho-Corasick automaton over the segments of all keywords: one walk through a text finds every segment in it, however
// many there are. It is not changed once it is made.
type dictionary struct {
	keywords []keyword
	slots    int // segments of all keywords
	nodes    []node
	first    [256]int32 // the root's edges, 0 for none: most steps of a text go there
}

// node is a state: what was read last is the beginning of some segment.
type node struct {
	edges []edge // in the order of their bytes
	fail  int32  // the state of the longest ending that is also the beginning of a segment
	next  int32  // the nearest state along fail that has hits, 0 for none
	hits  []hit  // segments that end here
}

type edge struct {
	b  byte
	to int32
}

// hit names a segment.
type hit struct {
	keyword, segment int32
	slot             int32 // its number among those of all keywords; they follow each other within a keyword
	runes            int   // its length
}

func newDictionary(keywords []keyword) *dictionary {
	d := &dictionary{keywords: keywords, nodes: make([]node, 1)}
	for k, word := range keywords {
		for i, s := range word.segments {
			at := d.add(s)
			d.nodes[at].hits = append(d.nodes[at].hits, hit{int32(k), int32(i), int32(d.slots), utf8.RuneCountInString(s)})
			d.slots++
		}
	}
	for _, e := range d.nodes[0].edges {
		d.first[e.b] = e.to
	}
	d.link()
	return d
}

// add makes the path of s and returns its last state.
func (d *dictionary) add(s string) int32 {
	at := int32(0)
	for i := range len(s) {
		to, ok := d.edge(at, s[i])
		if !ok {
			to = int32(len(d.nodes))
			d.nodes = append(d.nodes, node{})
			n := &d.nodes[at]
			k, _ := slices.BinarySearchFunc(n.edges, s[i], compareEdge)
			n.edges = slices.Insert(n.edges, k, edge{s[i], to})
		}
		at = to
	}
	return at
}

func compareEdge(e edge, b byte) int { return int(e.b) - int(b) }

func (d *dictionary) edge(at int32, b byte) (int32, bool) {
	edges := d.nodes[at].edges
	k, ok := slices.BinarySearchFunc(edges, b, compareEdge)
	if !ok {
		return 0, false
	}
	return edges[k].to, true
}

// link sets fail and next, breadth first: those of a state depend on shorter ones alone.
func (d *dictionary) link() {
	queue := []int32{0}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, e := range d.nodes[at].edges {
			n := &d.nodes[e.to]
			if at != 0 {
				n.fail = d.step(d.nodes[at].fail, e.b)
			}
			if n.next = n.fail; len(d.nodes[n.fail].hits) == 0 {
				n.next = d.nodes[n.fail].next
			}
			queue = append(queue, e.to)
		}
	}
}

// step is the state after one more byte.
func (d *dictionary) step(at int32, b byte) int32 {
	for at != 0 {
		if to, ok := d.edge(at, b); ok {
			return to
		}
		at = d.nodes[at].fail
	}
	return d.first[b]
}
