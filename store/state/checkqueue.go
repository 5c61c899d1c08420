package state

import (
	"bytes"
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Invariant: a message waits for as many recipients as it has entries, shows its email once, and is found by its queue id; each entry
// stands where its owner looks for it, and nowhere else; the cluster's record counts them.
func (c *checker) queues() error {
	open := map[uint64]waiting{}
	counted := &storepb.ClusterRecord{}
	if err := c.queueEntries(open, counted); err != nil {
		return err
	}
	if err := c.queueMessages(open); err != nil {
		return err
	}
	for id, w := range open {
		c.broken("%d entries are of the queued message %d, which does not exist", w.n, id)
	}
	if q := c.cr.Queue; q.GetIn() != counted.Queue.GetIn() || q.GetLocal() != counted.Queue.GetLocal() || q.GetRemote() != counted.Queue.GetRemote() || q.GetHeld() != counted.Queue.GetHeld() {
		c.broken("the queues are said to hold %v and hold %v", q, counted.Queue)
	}
	return c.queuePlaces()
}

// waiting are the entries that were found of a message.
type waiting struct {
	n, last uint32 // how many, and the highest number
}

func (c *checker) queueEntries(open map[uint64]waiting, counted *storepb.ClusterRecord) error {
	e := &storepb.QueueEntry{}
	return c.walk(tabQueueEntry, e, func(rest []byte) error {
		queue := store.Queue(e.Queue)
		if !bytes.Equal(key(tabQueueEntry, rest), entryOf(e.Message, e.Number)) || e.Number == 0 || e.Epoch == 0 || !validServerID(e.Owner) ||
			e.Attempting && (waitsForNotice(e) || queue != store.QueueRemote) || (queue == store.QueueLocal) != (e.Account != 0) ||
			queue < store.QueueIn || queue > store.QueueRemote || e.Notice > uint32(store.NoticeExpanded) || e.DueUnixMs < 0 {
			c.broken("the queue entry %x makes no sense: %v", rest, e)
			return nil
		}
		open[e.Message] = waiting{open[e.Message].n + 1, max(open[e.Message].last, e.Number)}
		countEntry(counted, e, 1)
		if k := placeOf(e); k != nil {
			return c.exists(k, "the queue entry %d of message %d is not where its owner looks for it", e.Number, e.Message)
		}
		return nil
	})
}

func (c *checker) queueMessages(open map[uint64]waiting) error {
	m := &storepb.QueueMessage{}
	if err := c.walk(tabQueued, m, func(rest []byte) error {
		if !bytes.Equal(key(tabQueued, rest), key(tabQueued, m.Id)) || m.Id == 0 || m.Id > c.cr.NextQueued || m.Open == 0 || m.Open != open[m.Id].n || m.LastNumber < open[m.Id].last {
			c.broken("the queued message %x makes no sense, or has other entries than %v: %v", rest, open[m.Id], m)
		}
		delete(open, m.Id)
		c.refs.add(m.Email)
		return c.exists(queueIDKey(m.QueueId, m.Id), "the queued message %d is not found by its queue id", m.Id)
	}); err != nil {
		return err
	}
	return each(c.v, key(tabQueueID), func(rest, _ []byte) (bool, error) {
		id, number, ok := bytes.Cut(rest, []byte{0})
		m := &storepb.QueueMessage{}
		if !ok || len(number) != 8 {
			c.broken("a queue id that leads to nothing: %q", rest)
			return true, nil
		}
		found, err := load(c.v, key(tabQueued, number), m)
		if err == nil && (!found || m.QueueId != string(id)) {
			c.broken("the queue id %q leads to another message, or to none", id)
		}
		return true, err
	})
}

// queuePlaces: where owners look there is nothing but entries that belong there.
func (c *checker) queuePlaces() error {
	for _, table := range []byte{tabDue, tabAttempting} {
		if err := each(c.v, key(table), func(rest, note []byte) (bool, error) {
			if len(rest) < 13 {
				c.broken("an owner's work without an entry: %q", rest)
				return true, nil
			}
			e := &storepb.QueueEntry{}
			at := rest[len(rest)-12:]
			found, err := load(c.v, entryOf(binary.BigEndian.Uint64(at), binary.BigEndian.Uint32(at[8:])), e)
			if err == nil && (!found || !bytes.Equal(placeOf(e), key(table, rest))) {
				c.broken("an owner's work leads to an entry that is not there, or elsewhere: %q", rest)
			}
			if err != nil || !found {
				return true, err
			}
			m := &storepb.QueueMessage{}
			if _, err = load(c.v, key(tabQueued, e.Message), m); err == nil && !bytes.Equal(note, noteOf(m, e)) {
				c.broken("an owner's work on entry %d of message %d is noted as another's: %x", e.Number, e.Message, note)
			}
			return true, err
		}); err != nil {
			return err
		}
	}
	return nil
}

// Invariant: rules and routes stand under their names; what was written down, traces and what is remembered of messages can be read.
func (c *checker) rules() error {
	rule, route := &storepb.Rule{}, &storepb.DomainRoute{}
	if err := c.walk(tabRule, rule, func(rest []byte) error {
		if rule.Id != string(rest) || rule.Id == "" {
			c.broken("the rule %q stands in the wrong place", rest)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := c.walk(tabRoute, route, func(rest []byte) error {
		if route.Domain != string(rest) || route.Domain == "" {
			c.broken("the route of %q stands in the wrong place", rest)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, t := range []struct {
		table byte
		bytes int // of a key at least
		value proto.Message
	}{{tabAudit, 8, &storepb.AuditEvent{}}, {tabTrace, 4 + 1 + 12, &storepb.TraceEvent{}}, {tabResend, 8 + store.ResendKeyBytes, &storepb.Resend{}}} {
		if err := c.walk(t.table, t.value, func(rest []byte) error {
			if len(rest) < t.bytes {
				c.broken("a key of table %c is too short: %q", t.table, rest)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return each(c.v, key(tabTraceTerm), func(rest, _ []byte) (bool, error) {
		if len(rest) < 4+8 {
			c.broken("a term that leads to no message: %q", rest)
		}
		return true, nil
	})
}
