package imapd

import (
	"context"
	"errors"
	"strings"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/storepb"
)

// specialUses are those that CREATE may give (RFC 6154 §2). All and Flagged would be views of other mailboxes' messages.
var specialUses = map[imap.MailboxAttr]bool{
	imap.AttrArchive: true, imap.AttrDrafts: true, imap.AttrJunk: true, imap.AttrSent: true, imap.AttrTrash: true, imap.AttrImportant: true,
}

// create: RFC 9051 §6.3.4, RFC 6154 §3.
func (s *session) create(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.CreateArgs)
	// A delimiter at the end declares that children will follow, and is no part of the name.
	name := mailboxName(strings.TrimSuffix(args.Mailbox, string(delimiter)))
	use := ""
	switch {
	case len(args.SpecialUse) > 1, len(args.SpecialUse) == 1 && !specialUses[args.SpecialUse[0]]:
		return answer{}, no(imap.CodeUseAttr, "Special use not supported")
	case len(args.SpecialUse) == 1:
		use = string(args.SpecialUse[0])
	}
	if err := s.createAbove(ctx, name); err != nil {
		return answer{}, err
	}
	return answer{}, s.createOne(ctx, name, use)
}

// createAbove makes the superiors of a name (RFC 9051 §6.3.4, §6.3.6). One that another client makes meanwhile is as good.
func (s *session) createAbove(ctx context.Context, name string) error {
	for i, c := range name {
		if c != delimiter || i == 0 {
			continue
		}
		if err := s.createOne(ctx, name[:i], ""); err != nil && !errors.Is(err, store.ErrExists) {
			return err
		}
	}
	return nil
}

func (s *session) createOne(ctx context.Context, name, use string) error {
	if err := s.free(ctx, name); err != nil {
		return err // spares the log an entry
	}
	_, err := s.propose(ctx, "create mailbox", func(c *storepb.Command) {
		c.Op = &storepb.Command_CreateMailbox{CreateMailbox: &storepb.CreateMailbox{Account: uint64(s.account()), Name: name, SpecialUse: use}}
	})
	return err
}

// delete: RFC 9051 §6.3.5. Children stay; their parent is then shown as \NonExistent. A mailbox of very
// many messages is emptied in parts first; where that ends early, DELETE again goes on.
func (s *session) delete(ctx context.Context, cmd *imap.Command) (answer, error) {
	mb, err := s.mailbox(ctx, cmd.Args.(*imap.MailboxArgs).Mailbox)
	if err != nil {
		return answer{}, err
	}
	end := func(c *storepb.Command) {
		c.Op = &storepb.Command_DeleteMailbox{DeleteMailbox: &storepb.DeleteMailbox{Account: uint64(s.account()), Mailbox: mb.GetId()}}
	}
	err = replica.RemoveWhole(ctx, s.proposer("delete mailbox"), end, func(ctx context.Context) error {
		read := func(f func(replica.MailboxReader) error) error { return s.view(func(v View) error { return f(v) }) }
		return replica.Empty(ctx, s.proposer("empty the mailbox"), read, s.account(), store.MailboxID(mb.GetId()))
	})
	if err == nil && s.sel != nil && uint64(s.sel.id) == mb.GetId() {
		s.sel = nil // the client knows what it did
	}
	return answer{}, err
}

// rename: RFC 9051 §6.3.6. The store renames the children too, and empties INBOX into the new mailbox.
func (s *session) rename(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.RenameArgs)
	mb, err := s.mailbox(ctx, args.From)
	if err != nil {
		return answer{}, err
	}
	to := mailboxName(strings.TrimSuffix(args.To, string(delimiter)))
	if err := s.free(ctx, to); err != nil {
		return answer{}, err
	}
	if strings.HasPrefix(to, mb.GetName()+string(delimiter)) && mb.GetName() != "INBOX" {
		return answer{}, no(imap.CodeCannot, "A mailbox can not become its own inferior")
	}
	if err := s.createAbove(ctx, to); err != nil {
		return answer{}, err
	}
	_, err = s.propose(ctx, "rename mailbox", func(c *storepb.Command) {
		c.Op = &storepb.Command_RenameMailbox{RenameMailbox: &storepb.RenameMailbox{Account: uint64(s.account()), Mailbox: mb.GetId(), Name: to}}
	})
	return answer{}, err
}

// subscribe is SUBSCRIBE and UNSUBSCRIBE (RFC 9051 §6.3.7, §6.3.8). A name may be subscribed to before and after its mailbox exists.
func (s *session) subscribe(ctx context.Context, cmd *imap.Command) (answer, error) {
	name := mailboxName(cmd.Args.(*imap.MailboxArgs).Mailbox)
	_, err := s.propose(ctx, "subscribe", func(c *storepb.Command) {
		c.Op = &storepb.Command_SetSubscribed{SetSubscribed: &storepb.SetSubscribed{Account: uint64(s.account()), Name: name,
			Subscribed: cmd.Name == "SUBSCRIBE"}}
	})
	return answer{}, err
}
