package imapd

import (
	"strings"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// systemFlags pairs the flags on the wire with the store's, in the order in which they are shown.
var systemFlags = []struct {
	wire imap.Flag
	bit  store.Flags
}{
	{imap.FlagAnswered, store.FlagAnswered},
	{imap.FlagFlagged, store.FlagFlagged},
	{imap.FlagDeleted, store.FlagDeleted},
	{imap.FlagSeen, store.FlagSeen},
	{imap.FlagDraft, store.FlagDraft},
}

// wireFlags is how a message's flags are shown to this session.
func (sel *selected) wireFlags(uid uint32, e *storepb.Entry) []imap.Flag {
	flags := make([]imap.Flag, 0, 8)
	for _, f := range systemFlags {
		if store.Flags(e.GetFlags()).Has(f.bit) {
			flags = append(flags, f.wire)
		}
	}
	for _, k := range e.GetKeywords() {
		flags = append(flags, imap.Flag(k))
	}
	if sel.isRecent(uid) {
		flags = append(flags, imap.FlagRecent)
	}
	return flags
}

// parseFlags takes a client's flags apart. \Recent is the server's own and is passed over (RFC 3501 §2.3.2).
func (s *session) parseFlags(flags []imap.Flag) (bits store.Flags, keywords []string, err error) {
	for _, f := range flags {
		bit, known := systemFlag(f)
		switch {
		case known:
			bits |= bit
		case f == imap.FlagRecent:
		case !f.IsKeyword():
			return 0, nil, no(imap.CodeCannot, "Unknown system flag")
		case len(f) > store.MaxKeywordBytes:
			return 0, nil, no(imap.CodeLimit, "Keyword too long")
		default:
			keywords = append(keywords, string(f))
		}
	}
	if len(keywords) > s.cfg.Limits.KeywordsPerMessage {
		return 0, nil, no(imap.CodeLimit, "Too many keywords")
	}
	return bits, keywords, nil
}

func systemFlag(f imap.Flag) (store.Flags, bool) {
	for _, x := range systemFlags {
		if x.wire == f {
			return x.bit, true
		}
	}
	return 0, false
}

// hasFlag is SEARCH's test.
func hasFlag(e *storepb.Entry, f imap.Flag) bool {
	if bit, known := systemFlag(f); known {
		return store.Flags(e.GetFlags()).Has(bit)
	}
	for _, k := range e.GetKeywords() {
		if strings.EqualFold(k, string(f)) {
			return true
		}
	}
	return false
}
