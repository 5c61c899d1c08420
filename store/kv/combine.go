package kv

import (
	"bytes"
	"errors"
	"fmt"
)

// Combine makes a batch that remembers what it read and what was written to it: a key that is read again costs no search, and one that is
// written again reaches the store once. It is for batches of many small changes to the same few keys. The result is as if every call
// had gone to b, which the new batch owns.
func Combine(b Batch) Batch { return &combined{b: b, of: map[string]*pending{}} }

// combined is the Batch of Combine.
type combined struct {
	b  Batch
	of map[string]*pending
	n  int // bytes of pending changes
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
	c.put(key, pending{value: append([]byte{}, value...), present: true, dirty: true})
	return nil
}

func (c *combined) Delete(key []byte) error {
	if err := checkSet(key, nil, c.Len()); err != nil {
		return err
	}
	c.put(key, pending{dirty: true})
	return nil
}

func (c *combined) put(key []byte, next pending) {
	if old := c.of[string(key)]; old != nil {
		if old.dirty {
			c.n -= len(key) + len(old.value)
		}
		*old = next
	} else {
		c.of[string(key)] = &next
	}
	c.n += len(key) + len(next.value)
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
	for k, p := range c.of {
		if !p.dirty {
			continue
		}
		var err error
		if p.present {
			err = c.b.Set([]byte(k), p.value)
		} else {
			err = c.b.Delete([]byte(k))
		}
		if err != nil {
			return err
		}
		p.dirty = false
	}
	c.n = 0
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
