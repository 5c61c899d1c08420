package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// maxQueueScan bounds the entries that one request looks at: whoever wants more asks again, from where it ended.
const maxQueueScan = 20_000

// queueScan looks for the entries that a filter chooses.
type queueScan struct {
	v         *state.View
	now       time.Time
	filter    admin.QueueFilter
	messages  []uint64 // when the filter names queue ids: theirs, ascending
	queue     store.Queue
	sender    glob
	recipient glob
	domain    string
	reason    string
	owners    map[string]bool

	last *storepb.QueueMessage // of the entry before
}

var queueNames = map[string]store.Queue{store.QueueIn.String(): store.QueueIn, store.QueueLocal.String(): store.QueueLocal, store.QueueRemote.String(): store.QueueRemote}

// newQueueScan checks what an administrator asks for. store.ErrInvalid.
func newQueueScan(v *state.View, f admin.QueueFilter, servers names, now time.Time) (*queueScan, error) {
	s := &queueScan{v: v, now: now, filter: f, reason: mime.FoldText(f.Reason)}
	var err error
	if s.queue = queueNames[f.Queue]; f.Queue != "" && s.queue == 0 {
		return nil, fmt.Errorf("%q is no queue: choose in, local or remote: %w", f.Queue, store.ErrInvalid)
	}
	if s.sender, err = newGlob(f.Sender); err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	if s.recipient, err = newGlob(f.Recipient); err != nil {
		return nil, fmt.Errorf("recipient: %w", err)
	}
	if f.Domain != "" {
		if s.domain, err = smtp.ParseDomain(f.Domain); err != nil {
			return nil, fmt.Errorf("domain %q: %w: %w", f.Domain, err, store.ErrInvalid)
		}
	}
	if f.Owner != "" { // a node that has not got so far as to have a name is not meant
		if s.owners = servers.ids(f.Owner); len(s.owners) == 0 {
			return nil, fmt.Errorf("no node is called %q (see: quorumail status): %w", f.Owner, store.ErrInvalid)
		}
	}
	return s, s.findMessages()
}

// findMessages looks up the messages of the queue ids, if the filter names any.
func (s *queueScan) findMessages() error {
	for _, id := range s.filter.IDs {
		under, err := s.v.QueuedUnder(id)
		if err != nil {
			return fmt.Errorf("look for %s in the queues: %w", id, err)
		}
		s.messages = append(s.messages, under...)
	}
	slices.Sort(s.messages)
	s.messages = slices.Compact(s.messages)
	return nil
}

// each calls f for the entries that the filter chooses, from a place on, until it answers false. It looks at no more than limit of them, and
// returns where to go on; nil at the end.
func (s *queueScan) each(from admin.QueuePlace, limit int, f func(*storepb.QueueEntry, *storepb.QueueMessage) (bool, error)) (*admin.QueuePlace, error) {
	w := &queueWalk{scan: s, left: limit, f: f}
	if len(s.filter.IDs) == 0 {
		return w.end(s.v.QueueEntries(from.Message, from.Number, w.step))
	}
	for _, id := range s.messages {
		if id < from.Message {
			continue
		}
		number := uint32(0)
		if id == from.Message {
			number = from.Number
		}
		w.only = id
		err := s.v.QueueEntries(id, number, w.step)
		if next, err := w.end(err); err != nil || next != nil {
			return next, err
		}
	}
	return nil, nil
}

// queueWalk is one go of a scan.
type queueWalk struct {
	scan *queueScan
	f    func(*storepb.QueueEntry, *storepb.QueueMessage) (bool, error)
	left int
	only uint64 // the message that it is about; 0: any
	next *admin.QueuePlace
	err  error
}

func (w *queueWalk) step(e *storepb.QueueEntry) (more bool) {
	if w.only != 0 && e.Message != w.only {
		return false
	}
	if w.left--; w.left < 0 {
		w.next = &admin.QueuePlace{Message: e.Message, Number: e.Number}
		return false
	}
	m, chosen, err := w.scan.chosen(e)
	if err != nil || !chosen {
		w.err = err
		return err == nil
	}
	if more, w.err = w.f(e, m); w.err == nil && !more {
		w.next = &admin.QueuePlace{Message: e.Message, Number: e.Number + 1}
	}
	return more && w.err == nil
}

func (w *queueWalk) end(err error) (*admin.QueuePlace, error) {
	if err := errors.Join(err, w.err); err != nil {
		return nil, fmt.Errorf("read the queues: %w", err)
	}
	return w.next, nil
}

// chosen tells whether the filter chooses an entry, and which message is its.
func (s *queueScan) chosen(e *storepb.QueueEntry) (*storepb.QueueMessage, bool, error) {
	if !s.entryChosen(e) {
		return nil, false, nil
	}
	if s.last == nil || s.last.Id != e.Message {
		m, err := s.v.QueueMessage(e.Message)
		if err != nil {
			return nil, false, err
		}
		s.last = m
	}
	return s.last, s.sender.matches(s.last.EnvelopeFrom), nil
}

func (s *queueScan) entryChosen(e *storepb.QueueEntry) bool {
	age := s.now.Sub(time.UnixMilli(e.SinceUnixMs))
	switch {
	case s.queue != 0 && store.Queue(e.Queue) != s.queue,
		s.filter.Held && !e.Held,
		s.filter.OlderThanMs > 0 && age < time.Duration(s.filter.OlderThanMs)*time.Millisecond, // a clock may be behind the one that it came by
		len(s.owners) > 0 && !s.owners[e.Owner],
		s.domain != "" && domainPart(e.Address) != s.domain,
		!s.recipient.matches(e.Address),
		s.reason != "" && !strings.Contains(mime.FoldText(shownReason(e)), s.reason):
		return false
	}
	return true
}

// shownReason is what lists have in the column REASON: whoever copies a status code or a server from there finds the entry.
func shownReason(e *storepb.QueueEntry) string {
	return lastReply(admin.QueueEntry{Held: e.Held, Notice: noticeNames[store.Notice(e.Notice)], Peer: e.Peer, Code: e.Code, Status: e.Status, Reason: e.Reason})
}

func domainPart(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

// glob is a pattern of addresses: the parts between its stars, which stand for any run of characters. nil matches everything.
type glob []string

// newGlob reads an address with or without stars; "<>" is the null sender.
func newGlob(pattern string) (glob, error) {
	pattern = strings.TrimSpace(pattern)
	switch {
	case pattern == "":
		return nil, nil
	case pattern == "<>":
		return glob{""}, nil
	case strings.Contains(pattern, "*"):
		return strings.Split(canonicalPattern(pattern), "*"), nil
	}
	a, err := smtp.ParseAddress(pattern)
	if err != nil {
		return nil, fmt.Errorf("%q: %w: write an address, or a pattern like *@example.org: %w", pattern, err, store.ErrInvalid)
	}
	return glob{a.Canonical()}, nil
}

// canonicalPattern brings a pattern with stars into the form in which addresses are compared, as far as its stars allow: lower case, composed,
// and the labels of its domain not as A-labels.
func canonicalPattern(pattern string) string {
	pattern = norm.NFC.String(strings.ToLower(pattern))
	at := strings.LastIndexByte(pattern, '@')
	labels := strings.Split(pattern[at+1:], ".")
	for i, label := range labels {
		if domain, err := smtp.ParseDomain(label); err == nil && !strings.Contains(label, "*") {
			labels[i] = domain
		}
	}
	return pattern[:at+1] + strings.Join(labels, ".")
}

// canonicalText is the form in which addresses are compared; what is none stays as it is.
func canonicalText(address string) string {
	if a, err := smtp.ParseAddress(address); err == nil {
		return a.Canonical()
	}
	return address
}

func (g glob) matches(address string) bool {
	if g == nil {
		return true
	}
	address = canonicalText(address)
	rest, ok := strings.CutPrefix(address, g[0])
	if len(g) == 1 || !ok {
		return ok && rest == ""
	}
	for _, part := range g[1 : len(g)-1] {
		if _, rest, ok = strings.Cut(rest, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, g[len(g)-1])
}
