package kv

import (
	"bytes"
	"errors"
	"fmt"
)

// maxRemembered bounds the keys that a combined batch remembers: one that changes a whole mailbox must not be kept twice in memory.
const maxRemembered = 8192

// Combine makes a batch that remembers what it read and what was written to it: a key that is read again costs no search, and one that is
// written again reaches the store once. It is for batches of many small changes to the same few keys. The result is as if every call
// had gone to b, which the new batch owns.
func Combine(b Batch) Batch { return &combined{b: b, of: map[string]*pending{}} }

// combined is the Batch of Combine.
type combined struct {
	b     Batch
	of    map[string]*pending
	dirty []string // keys of of that b may not have been told of; each once
	n     int      // bytes of pending changes
}

// pending is what a combined batch knows of a key.
type pending struct {
	value   []byte // never changed in place
	present bool
	dirty   bool // b has not been told
}

func (c *combined) Get(key []byte) ([]byte, error) {
	p := c.of[string(key)]
	if p == nil {
		value, err := c.b.Get(key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if err := c.bound(); err != nil {
			return nil, err
		}
		p = &pending{value: value, present: err == nil}
		c.of[string(key)] = p
	}
	if !p.present {
		return nil, fmt.Errorf("get %q: %w", key, ErrNotFound)
	}
	return bytes.Clone(p.value), nil
}

func (c *combined) Has(key []byte) (bool, error) {
	if p := c.of[string(key)]; p != nil {
		return p.present, nil
	}
	return c.b.Has(key)
}

func (c *combined) Set(key, value []byte) error {
	if err := checkSet(key, value, c.Len()); err != nil {
		return err
	}
	return c.put(key, pending{value: append([]byte{}, value...), present: true, dirty: true})
}

func (c *combined) Delete(key []byte) error {
	if err := checkSet(key, nil, c.Len()); err != nil {
		return err
	}
	return c.put(key, pending{dirty: true})
}

func (c *combined) put(key []byte, next pending) error {
	if err := c.bound(); err != nil {
		return err
	}
	old := c.of[string(key)]
	if old == nil {
		old = &pending{}
		c.of[string(key)] = old
	}
	if old.dirty {
		c.n -= len(key) + len(old.value)
	} else {
		c.dirty = append(c.dirty, string(key))
	}
	*old = next
	c.n += len(key) + len(next.value)
	return nil
}

// bound forgets everything when too much is remembered; b knows it then.
func (c *combined) bound() error {
	if len(c.of) < maxRemembered {
		return nil
	}
	if err := c.handOver(); err != nil {
		return err
	}
	clear(c.of)
	return nil
}

// DeleteRange forgets what it removes, and hands over what was changed before.
func (c *combined) DeleteRange(lower, upper []byte) error {
	if err := c.handOver(); err != nil {
		return err
	}
	if err := c.b.DeleteRange(lower, upper); err != nil {
		return err
	}
	for k := range c.of {
		if k >= string(lower) && k < string(upper) {
			delete(c.of, k)
		}
	}
	return nil
}

// Iter walks b, which must know all changes for that.
func (c *combined) Iter(lower, upper []byte) (Iterator, error) {
	if err := c.handOver(); err != nil {
		return nil, err
	}
	return c.b.Iter(lower, upper)
}

func (c *combined) handOver() error {
	for i, k := range c.dirty {
		p := c.of[k]
		var err error
		if p.present {
			err = c.b.Set([]byte(k), p.value)
		} else {
			err = c.b.Delete([]byte(k))
		}
		if err != nil {
			c.dirty = c.dirty[i:]
			return err
		}
		p.dirty = false
	}
	c.dirty, c.n = c.dirty[:0], 0
	return nil
}

func (c *combined) Len() int     { return c.b.Len() + c.n }
func (c *combined) Close() error { return c.b.Close() }

func (c *combined) Commit(sync bool) error {
	if err := c.handOver(); err != nil {
		return err
	}
	return c.b.Commit(sync)
}
