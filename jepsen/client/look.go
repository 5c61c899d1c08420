package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/quorumail/quorumail/jepsen/history"
)

// ErrRestless is a mailbox that cannot be read as it was at any one moment. The server is not to blame.
var ErrRestless = errors.New("messages came or went each time that it was read")

// maxLooks is how often a mailbox is read again because messages came or went meanwhile.
const maxLooks = 5

// Corruption is a message whose bytes are not those that were sent.
type Corruption struct {
	UID uint32
	ID  string
	Err error
}

// Look selects a mailbox and reads it whole, but for the bodies: as it was at one moment of the operation.
func (s *IMAP) Look(ctx context.Context, mailbox string) (box *history.Mailbox, err error) {
	err = s.do(ctx, "select", func() error {
		if box, err = s.selectBox(mailbox); err != nil {
			return err
		}
		box, err = s.settle(box)
		return err
	})
	return box, reading(err)
}

// Refresh reads the selected mailbox again, with a NOOP in the place of a SELECT.
func (s *IMAP) Refresh(ctx context.Context) (box *history.Mailbox, err error) {
	err = s.do(ctx, "refresh", func() error {
		if box, err = s.refreshed(); err != nil {
			return err
		}
		box, err = s.settle(box)
		return err
	})
	return box, reading(err)
}

// LookWhole is Look and Bodies.
func (s *IMAP) LookWhole(ctx context.Context, mailbox string) (*history.Mailbox, []Corruption, error) {
	box, err := s.Look(ctx, mailbox)
	if err != nil {
		return nil, nil, err
	}
	corrupt, err := s.Bodies(ctx, box.Messages)
	return box, corrupt, err
}

// Bodies reads messages of the selected mailbox whole that a look has just shown, and checks their bytes: that there are any, that they are
// those that were sent, and those of the message that was shown. After an error the connection is of no more use.
func (s *IMAP) Bodies(ctx context.Context, list []history.Message) ([]Corruption, error) {
	if len(list) == 0 {
		return nil, nil
	}
	var uids imap.UIDSet
	for _, m := range list {
		uids.AddNum(imap.UID(m.UID))
	}
	before := s.news()
	defer s.c.begin(ctx, s.o.Whole)()
	found, err := s.bodies(uids)
	if err != nil {
		return nil, failed(fmt.Errorf("read the bodies at %s: %w", s.node, err))
	}
	return compare(list, found, s.news().went == before.went), nil
}

// compare finds what is wrong with the bodies that were read. One that was not shown is missing, unless messages went meanwhile.
func compare(list []history.Message, found map[uint32]body, stayed bool) (bad []Corruption) {
	for _, m := range list {
		b, shown := found[m.UID]
		switch {
		case !shown && stayed:
			bad = append(bad, Corruption{UID: m.UID, ID: m.ID, Err: errNoBody})
		case shown && b.err != nil:
			bad = append(bad, Corruption{UID: m.UID, ID: m.ID, Err: b.err})
		case shown && b.id != m.ID:
			bad = append(bad, Corruption{UID: m.UID, ID: m.ID, Err: fmt.Errorf("message %q has the body of %q", m.ID, b.id)})
		}
	}
	return bad
}

// errNoBody is a message without bytes.
var errNoBody = errors.New("the server shows the message, and not its bytes")

// reading: an operation that changes nothing and shows nothing has not happened.
func reading(err error) error {
	if err == nil {
		return nil
	}
	return failed(err)
}

func (s *IMAP) selectBox(mailbox string) (*history.Mailbox, error) {
	s.selected = ""
	data, err := s.imap.Select(mailbox, &imap.SelectOptions{CondStore: s.condstore}).Wait()
	if err != nil {
		return nil, err
	}
	s.selected = mailbox
	return &history.Mailbox{UIDValidity: data.UIDValidity, UIDNext: uint32(data.UIDNext), HighestModSeq: data.HighestModSeq}, nil
}

// news counts what came and went without being asked for.
type news struct{ came, went int64 }

func (s *IMAP) news() news { return news{s.came.Load(), s.went.Load()} }

// refreshed learns of all that was acknowledged before, and what SELECT tells besides: again, when the answer to STATUS is followed by news,
// for then it is older than they are.
func (s *IMAP) refreshed() (*history.Mailbox, error) {
	for range maxLooks {
		if err := s.imap.Noop().Wait(); err != nil {
			return nil, err
		}
		before := s.news()
		data, err := s.imap.Status(s.selected, &imap.StatusOptions{UIDNext: true, UIDValidity: true, HighestModSeq: s.condstore}).Wait()
		if err != nil {
			return nil, err
		}
		if s.news() == before {
			return &history.Mailbox{UIDValidity: data.UIDValidity, UIDNext: uint32(data.UIDNext), HighestModSeq: data.HighestModSeq}, nil
		}
	}
	return nil, ErrRestless
}

// settle reads the messages until what was read is true of one moment, as a FETCH is not by itself: it shows the messages of which the
// client was told, less those that have gone since, with the flags that they have now.
func (s *IMAP) settle(box *history.Mailbox) (*history.Mailbox, error) {
	for range maxLooks {
		before := s.news()
		var err error
		if box.Messages, err = s.messages(); err != nil {
			return nil, err
		}
		switch exact, err := s.exact(box, before); {
		case err != nil:
			return nil, err
		case exact:
			return box, nil
		}
		if box, err = s.refreshed(); err != nil {
			return nil, err
		}
	}
	return nil, ErrRestless
}

// exact tells whether box, whose messages were just read, is true of one moment.
func (s *IMAP) exact(box *history.Mailbox, before news) (bool, error) {
	now := s.news()
	if now.went != before.went {
		return false, nil
	}
	if !s.condstore {
		return now == before, nil
	}
	if newest(box.Messages) <= box.HighestModSeq {
		return true, nil // of when the mailbox was told: at most it has got messages since, which are not shown
	}
	// Flags have changed since, so it is true of the moment of the FETCH, if nothing came or went around it.
	after, err := s.refreshed()
	if err != nil {
		return false, err
	}
	if s.news() != before || after.UIDNext != box.UIDNext {
		return false, nil
	}
	box.HighestModSeq = after.HighestModSeq
	return true, nil
}

// newest is the highest mod-sequence of some messages.
func newest(list []history.Message) (highest uint64) {
	for _, m := range list {
		highest = max(highest, m.ModSeq)
	}
	return highest
}

// messages fetches all messages of the selected mailbox.
func (s *IMAP) messages() ([]history.Message, error) {
	id := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{IDField}, Peek: true}
	fetch := s.imap.Fetch(imap.UIDSet{{Start: 1}}, &imap.FetchOptions{UID: true, Flags: true, ModSeq: s.condstore, BodySection: []*imap.FetchItemBodySection{id}})
	found, err := fetch.Collect()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b *imapclient.FetchMessageBuffer) int { return cmp.Compare(a.SeqNum, b.SeqNum) }) // UIDs must ascend by it: the checker looks
	list := make([]history.Message, 0, len(found))
	for _, m := range found {
		header := m.FindBodySection(id)
		if header == nil {
			continue // only flags: news of a message that this command did not reach
		}
		list = append(list, history.Message{UID: uint32(m.UID), ID: field(header, IDField), Flags: flagNames(m.Flags), ModSeq: m.ModSeq})
	}
	return list, nil
}

func flagNames(flags []imap.Flag) []string {
	var names []string
	for _, f := range flags {
		if name := strings.ToLower(string(f)); name != `\recent` {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// body is what Check says of the bytes of a message.
type body struct {
	id  string
	err error
}

// bodies reads messages whole, one after the other; by their UIDs.
func (s *IMAP) bodies(uids imap.UIDSet) (map[uint32]body, error) {
	cmd := s.imap.Fetch(uids, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
	found := map[uint32]body{}
	for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
		uid, raw, err := readMessage(msg)
		if err != nil {
			_ = cmd.Close() // the first error counts
			return nil, err
		}
		if raw != nil { // else it tells flags
			id, err := Check(raw)
			found[uid] = body{id, err}
		}
	}
	return found, cmd.Close()
}

func readMessage(msg *imapclient.FetchMessageData) (uid uint32, raw []byte, err error) {
	for item := msg.Next(); item != nil; item = msg.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			uid = uint32(item.UID)
		case imapclient.FetchItemDataBodySection:
			if item.Literal == nil {
				continue
			}
			if raw, err = io.ReadAll(item.Literal); err != nil {
				return 0, nil, err
			}
		}
	}
	return uid, raw, nil
}
