package client

import (
	"context"
	"regexp"
	"strconv"

	"github.com/emersion/go-imap/v2"
)

// Store sets or takes a flag of a message of the selected mailbox. modSeq is what the server said that it gave to it, 0 if it said nothing;
// seen is false when the answer does not show the message, which then is gone.
func (s *IMAP) Store(ctx context.Context, uid uint32, flag string, add bool) (modSeq uint64, seen bool, err error) {
	op := imap.StoreFlagsAdd
	if !add {
		op = imap.StoreFlagsDel
	}
	s.c.startTap()
	err = s.do(ctx, "store", func() error {
		return s.imap.Store(imap.UIDSetNum(imap.UID(uid)), &imap.StoreFlags{Op: op, Flags: []imap.Flag{imap.Flag(flag)}}, nil).Close()
	})
	modSeq, seen = lastFetch(s.c.stopTap(), uid)
	return modSeq, seen, err
}

var (
	fetchLine = regexp.MustCompile(`(?mi)^\* \d+ FETCH \((.*)\)\r?$`)
	uidItem   = regexp.MustCompile(`(?i)\bUID (\d+)`)
	seqItem   = regexp.MustCompile(`(?i)\bMODSEQ \((\d+)\)`)
)

// lastFetch finds the last FETCH response about a message in the answers to a STORE. The ones before may tell what others did to it, and
// the library hands out only the first.
func lastFetch(answers []byte, uid uint32) (modSeq uint64, seen bool) {
	for _, line := range fetchLine.FindAllSubmatch(answers, -1) {
		id := uidItem.FindSubmatch(line[1])
		if id == nil || string(id[1]) != strconv.FormatUint(uint64(uid), 10) {
			continue
		}
		modSeq, seen = 0, true
		if seq := seqItem.FindSubmatch(line[1]); seq != nil {
			modSeq, _ = strconv.ParseUint(string(seq[1]), 10, 63) // more digits than that are no mod-sequence: 0
		}
	}
	return modSeq, seen
}
