package kv

import (
	"bytes"
	"hash/maphash"
)

// node is an immutable treap of keys: a search tree by key and a heap by priority. Priorities are hashes of the keys, so that one set
// of keys has one shape. A change copies the path to the root; whoever holds an old root keeps the old state.
//
// Invariant: keys of left < key < keys of right; no child has a higher priority than its parent.
type node struct {
	key, value  []byte
	priority    uint64
	left, right *node
}

var prioritySeed = maphash.MakeSeed()

// split divides a tree into the keys before key, the node of key itself, and the keys after it.
func split(n *node, key []byte) (before, at, after *node) {
	if n == nil {
		return nil, nil, nil
	}
	switch c := bytes.Compare(key, n.key); {
	case c < 0:
		b, at, a := split(n.left, key)
		return b, at, &node{n.key, n.value, n.priority, a, n.right}
	case c > 0:
		b, at, a := split(n.right, key)
		return &node{n.key, n.value, n.priority, n.left, b}, at, a
	}
	return n.left, n, n.right
}

// merge joins two trees, all keys of a before all of b.
func merge(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority >= b.priority:
		return &node{a.key, a.value, a.priority, a.left, merge(a.right, b)}
	}
	return &node{b.key, b.value, b.priority, merge(a, b.left), b.right}
}

// insert sets a key. The tree keeps both slices.
func insert(n *node, key, value []byte) *node {
	before, _, after := split(n, key)
	own := &node{key: key, value: value, priority: maphash.Bytes(prioritySeed, key)}
	return merge(merge(before, own), after)
}

// remove deletes a key.
func remove(n *node, key []byte) *node {
	before, _, after := split(n, key)
	return merge(before, after)
}

// removeRange deletes the keys in [lower, upper).
func removeRange(n *node, lower, upper []byte) *node {
	before, _, rest := split(n, lower)
	_, at, after := split(rest, upper)
	if at != nil {
		before = merge(before, &node{key: at.key, value: at.value, priority: at.priority})
	}
	return merge(before, after)
}

// find returns the node of a key, or nil.
func find(n *node, key []byte) *node {
	for n != nil {
		c := bytes.Compare(key, n.key)
		if c == 0 {
			return n
		}
		if c < 0 {
			n = n.left
		} else {
			n = n.right
		}
	}
	return nil
}

// ceiling returns the first node at or after key (strict: after it); nil is before all keys.
func ceiling(n *node, key []byte, strict bool) (best *node) {
	for n != nil {
		c := bytes.Compare(key, n.key)
		if c < 0 || c == 0 && !strict {
			best, n = n, n.left
		} else {
			n = n.right
		}
	}
	return best
}

// lower returns the last node before key; nil is after all keys.
func lower(n *node, key []byte) (best *node) {
	for n != nil {
		if key == nil || bytes.Compare(n.key, key) < 0 {
			best, n = n, n.right
		} else {
			n = n.left
		}
	}
	return best
}
