package imapd

import (
	"context"
	"errors"

	"golang.org/x/text/unicode/norm"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/storepb"
)

// delimiter stands between the levels of a mailbox's name.
const delimiter = '/'

// account is the account that is logged in; 0: none.
func (s *session) account() store.AccountID {
	if s.user == nil {
		return 0
	}
	return s.user.Account
}

// barrier waits until this node has all that was acknowledged anywhere.
func (s *session) barrier(ctx context.Context) error {
	if err := s.ready(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.Barrier)
	defer cancel()
	if err := s.cfg.Store.ReadBarrier(ctx); err != nil {
		return unavailable("read barrier", err)
	}
	return nil
}

// ready is an error where nothing can be done now, so that no client waits for the outcome. A full disk only matters to new mail.
func (s *session) ready() error {
	if err := s.cfg.Store.Ready(); errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return nil
}

// view runs f on a snapshot of this node's state.
func (s *session) view(f func(View) error) error {
	v := s.cfg.Store.View()
	defer v.Close()
	return f(v)
}

// propose makes a change; what names it in errors.
func (s *session) propose(ctx context.Context, what string, fill func(*storepb.Command)) (*storepb.Result, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.Propose)
	defer cancel()
	res, err := s.cfg.Store.Propose(ctx, fill)
	if err != nil {
		return res, unknown(what, err)
	}
	return res, nil
}

// proposer is propose for what many messages are about: several commands, each with its own time to be done.
func (s *session) proposer(what string) replica.Proposer {
	return func(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error) {
		return s.propose(ctx, what, fill)
	}
}

// mailboxName brings a client's name into the one form that the store keeps: INBOX in capitals, also above its children, and NFC
// (RFC 9051 §5.1).
func mailboxName(name string) string {
	name = norm.NFC.String(name)
	const inbox = "INBOX"
	if len(name) > len(inbox) && name[len(inbox)] == delimiter {
		return imap.CanonicalMailbox(name[:len(inbox)]) + name[len(inbox):]
	}
	return imap.CanonicalMailbox(name)
}

// mailbox finds a mailbox by a client's name. Before it says that there is none it looks again behind a read barrier: another node may
// have acknowledged it already.
func (s *session) mailbox(ctx context.Context, name string) (*storepb.Mailbox, error) {
	mb, err := s.mailboxHere(name)
	if !errors.Is(err, store.ErrNotFound) {
		return mb, err
	}
	if err := s.barrier(ctx); err != nil {
		return nil, err
	}
	return s.mailboxHere(name)
}

// mailboxHere is mailbox as far as this node knows now.
func (s *session) mailboxHere(name string) (mb *storepb.Mailbox, err error) {
	err = s.view(func(v View) error {
		mb, err = v.MailboxByName(s.account(), mailboxName(name))
		return err
	})
	return mb, err
}

// free is store.ErrExists where a mailbox has the name. That too is only said behind a read barrier.
func (s *session) free(ctx context.Context, name string) error {
	if _, err := s.mailboxHere(name); errors.Is(err, store.ErrNotFound) {
		return nil // the store has the last word
	} else if err != nil {
		return err
	}
	if err := s.barrier(ctx); err != nil {
		return err
	}
	switch _, err := s.mailboxHere(name); {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return store.ErrExists
}

// destination finds the mailbox that APPEND, COPY or MOVE writes to. RFC 9051 §6.3.12: a name that CREATE could make answers TRYCREATE.
func (s *session) destination(ctx context.Context, name string) (*storepb.Mailbox, error) {
	mb, err := s.mailbox(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, no(imap.CodeTryCreate, "No such mailbox")
	}
	return mb, err
}
