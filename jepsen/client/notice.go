package client

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/emersion/go-imap/v2"

	"github.com/quorumail/quorumail/jepsen/history"
)

// Notice is a message by which a sender is told that another one did not get to some of its recipients (RFC 3464).
type Notice struct {
	UID  uint32
	ID   string   // of the message that it is about; "" when it does not show it
	Dest []string // to whom it did not get
}

// What is looked for in a notice: the fields of a recipient, which stand in a block of their own (RFC 3464 §2.3), and ours in what is returned.
var (
	finalRecipient = regexp.MustCompile(`(?im)^Final-Recipient: *rfc822 *; *<?([^\s>]+)`)
	failedAction   = regexp.MustCompile(`(?im)^Action: *failed\b`)
	returnedID     = regexp.MustCompile(`(?im)^` + IDField + `: *(\S+)`)
)

// Notices reads those of the messages that a look has just shown, and that are none of ours, and finds the notices of failures among them.
// After an error the connection is of no more use.
func (s *IMAP) Notices(ctx context.Context, list []history.Message) (found []Notice, err error) {
	var uids imap.UIDSet
	for _, m := range list {
		if m.ID == "" {
			uids.AddNum(imap.UID(m.UID))
		}
	}
	if len(uids) == 0 {
		return nil, nil
	}
	defer s.c.begin(ctx, s.o.Whole)()
	cmd := s.imap.Fetch(uids, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
	for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
		uid, raw, err := readMessage(msg)
		if err != nil {
			_ = cmd.Close() // the first error counts
			return nil, failed(fmt.Errorf("read the notices at %s: %w", s.node, err))
		}
		if n := notice(raw); len(n.Dest) > 0 {
			n.UID = uid
			found = append(found, n)
		}
	}
	if err := cmd.Close(); err != nil {
		return nil, failed(fmt.Errorf("read the notices at %s: %w", s.node, err))
	}
	return found, nil
}

// notice finds what a message tells of failures.
func notice(raw []byte) (n Notice) {
	if m := returnedID.FindSubmatch(raw); m != nil {
		n.ID = string(m[1])
	}
	for block := range strings.SplitSeq(string(raw), "\r\n\r\n") {
		if to := finalRecipient.FindStringSubmatch(block); to != nil && failedAction.MatchString(block) {
			n.Dest = append(n.Dest, to[1])
		}
	}
	return n
}
