package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// maxFindings bounds what Check reports.
const maxFindings = 20

// Check verifies every invariant of the state and reports all that it finds broken, up to a bound. It reads everything, and its memory
// grows by a few bytes for each message only. An error of another kind than findings says that the state could not be read.
func (m *Machine) Check() error {
	v := m.View()
	defer v.Close()
	c := &checker{v: v}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"the cluster's record", c.cluster}, {"tables", c.tables}, {"servers", c.servers}, {"results", c.results}, {"addresses", c.addresses},
		{"accounts", c.accounts}, {"mailboxes", c.mailboxes}, {"queues", c.queues}, {"rules", c.rules}, {"emails", c.emails}, {"tombstones", c.tombstones}, {"bodies", c.bodies},
		{"missing bodies", c.missing}, {"local keys", c.local},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("check %s: %w", step.what, err)
		}
	}
	return errors.Join(c.found...)
}

type checker struct {
	v     *View
	cr    *storepb.ClusterRecord
	pos   *storepb.LogPosition
	refs  counts // entries that show each email
	found []error

	ofEmails pairs // emails and their bodies
}

func (c *checker) broken(format string, args ...any) {
	if len(c.found) < maxFindings {
		c.found = append(c.found, fmt.Errorf(format, args...))
	}
}

// walk decodes a table's values into v, one after the other. A value that does not decode is a finding.
func (c *checker) walk(table byte, v proto.Message, f func(rest []byte) error) error {
	return each(c.v, key(table), func(rest, raw []byte) (bool, error) {
		if err := proto.Unmarshal(raw, v); err != nil {
			c.broken("the value of %q in table %c does not decode: %v", rest, table, err)
			return true, nil
		}
		return true, f(rest)
	})
}

// exists notes a finding if a key is absent.
func (c *checker) exists(k []byte, format string, args ...any) error {
	found, err := has(c.v, k)
	if err == nil && !found {
		c.broken(format, args...)
	}
	return err
}

func (c *checker) cluster() (err error) {
	if c.cr, err = c.v.Cluster(); err != nil {
		return err
	}
	if c.pos, err = c.v.Position(); err != nil {
		return err
	}
	if c.cr.Version == 0 || c.cr.Version > CommandVersion || c.cr.Epoch == 0 || len(c.cr.Holds) > maxHolds {
		c.broken("the cluster's record makes no sense: %v", c.cr)
	}
	return nil
}

// Invariant: there is no table but those of keys.go.
func (c *checker) tables() error {
	for from, end := []byte{0}, []byte(nil); ; {
		k, err := keysOf(c.v, from, end, 1)
		if err != nil || len(k) == 0 {
			return err
		}
		switch first := k[0]; {
		case isReplicated(first):
			from = after(first[:len(key(0))])
		case first[0] == 'L':
			from = after(first[:1])
		default:
			c.broken("the key %.50q belongs to no table", first)
			from = append(first, 0)
		}
	}
}

// Invariant: a server stands under its id; an invite under its secret's hash; secrets and settings have names.
func (c *checker) servers() error {
	s, i := &storepb.Server{}, &storepb.Invite{}
	if err := c.walk(tabServer, s, func(rest []byte) error {
		if s.Id != string(rest) || !s.Removed && checkServer(s) != nil {
			c.broken("the record of server %q makes no sense: %v", rest, s)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := c.walk(tabInvite, i, func(rest []byte) error {
		if !bytes.Equal(i.SecretHash, rest) || len(rest) != secretHashBytes {
			c.broken("an invite stands in the wrong place")
		}
		return nil
	}); err != nil {
		return err
	}
	for _, table := range []byte{tabSecret, tabSetting} {
		if found, err := has(c.v, key(table)); err != nil || found {
			c.broken("table %c has an entry without a name (%v)", table, err)
		}
	}
	return nil
}

// Invariant: results are kept for living incarnations only, from the lowest outstanding command to the highest executed one.
func (c *checker) results() error {
	inc := &storepb.Incarnation{}
	if err := c.walk(tabIncarnation, inc, func(rest []byte) error {
		if len(rest) != incarnationBytes || !inc.Retired && (inc.Lowest == 0 || inc.Lowest > inc.Highest) {
			c.broken("incarnation %x makes no sense: %v", rest, inc)
		}
		return nil
	}); err != nil {
		return err
	}
	var of []byte
	found := false
	res := &storepb.Result{}
	return c.walk(tabResult, res, func(rest []byte) error {
		if len(rest) != incarnationBytes+8 {
			c.broken("a result without a command's id")
			return nil
		}
		if id := rest[:incarnationBytes]; !bytes.Equal(id, of) {
			of = bytes.Clone(id)
			inc = &storepb.Incarnation{}
			var err error
			if found, err = load(c.v, key(tabIncarnation, of), inc); err != nil {
				return err
			}
		}
		seq := binary.BigEndian.Uint64(rest[incarnationBytes:])
		if !found || inc.Retired || seq < inc.Lowest || seq > inc.Highest || res.Index > c.pos.Index || res.Detail != "" {
			c.broken("the result of command %d of incarnation %x is kept and should not be (%v)", seq, of, inc)
		}
		return nil
	})
}

// Invariant: only live bodies are missed.
func (c *checker) missing() error {
	return each(c.v, key(tabMissing), func(rest, _ []byte) (bool, error) {
		server, body, ok := bytes.Cut(rest, []byte{0})
		if !ok || len(body) != store.BodyIDBytes || !validServerID(string(server)) {
			c.broken("a missing body without an id, or without a server: %q", rest)
			return true, nil
		}
		return true, c.exists(key(tabBody, body), "the body %x is missed by %s and not live", body, server)
	})
}

// Invariant: what is noted as not known to be durable was applied.
func (c *checker) local() error {
	return each(c.v, prefixInline, func(rest, _ []byte) (bool, error) {
		if len(rest) != 8+store.BodyIDBytes || binary.BigEndian.Uint64(rest) > c.pos.Index {
			c.broken("an inline body of an entry that was not applied: %x", rest)
		}
		return true, nil
	})
}
