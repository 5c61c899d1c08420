package imapd

import (
	"context"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// status: RFC 9051 §6.3.11.
func (s *session) status(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.StatusArgs)
	if err := s.barrier(ctx); err != nil {
		return answer{}, err
	}
	return answer{}, s.view(func(v View) error {
		mb, err := v.MailboxByName(s.account(), mailboxName(args.Mailbox))
		if err != nil {
			return err
		}
		values, err := s.statusValues(v, mb, args.Items)
		if err == nil {
			s.w.MailboxStatus(args.Mailbox, values)
		}
		return err
	})
}

func (s *session) statusValues(v View, mb *storepb.Mailbox, items []imap.StatusItem) ([]imap.StatusValue, error) {
	values := make([]imap.StatusValue, 0, len(items))
	for _, item := range items {
		value := imap.StatusValue{Item: item}
		switch item {
		case imap.StatusMessages:
			value.Value = uint64(mb.GetMessages())
		case imap.StatusRecent:
			n, err := s.recentIn(v, mb)
			if err != nil {
				return nil, err
			}
			value.Value = n
		case imap.StatusUIDNext:
			value.Value = uint64(mb.GetUidNext())
		case imap.StatusUIDValidity:
			value.Value = uint64(mb.GetUidValidity())
		case imap.StatusUnseen:
			value.Value = uint64(mb.GetUnseen())
		case imap.StatusDeleted:
			value.Value = uint64(mb.GetDeleted())
		case imap.StatusSize:
			value.Value = uint64(mb.GetSizeBytes())
		case imap.StatusHighestModSeq:
			value.Value = mb.GetHighestModseq()
		case imap.StatusAppendLimit:
			value.Value = uint64(s.cfg.Limits.MessageBytes)
		case imap.StatusMailboxID:
			value.Text = store.MailboxID(mb.GetId()).String()
		case imap.StatusDeletedStorage:
			n, err := s.deletedBytes(v, mb)
			if err != nil {
				return nil, err
			}
			value.Value = n
		default:
			continue
		}
		values = append(values, value)
	}
	return values, nil
}

// deletedBytes is what EXPUNGE would free (RFC 9208 §4.1.4).
func (s *session) deletedBytes(v View, mb *storepb.Mailbox) (n uint64, err error) {
	if mb.GetDeleted() == 0 {
		return 0, nil
	}
	err = v.Entries(s.account(), store.MailboxID(mb.GetId()), 1, func(_ store.UID, e *storepb.Entry) bool {
		if store.Flags(e.GetFlags()).Has(store.FlagDeleted) {
			n += uint64(e.GetRawBytes())
		}
		return true
	})
	return n, err
}
