package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"

	"github.com/quorumail/quorumail/jepsen/history"
)

// errDead is a connection that ended before the command was sent.
var errDead = errors.New("the connection has ended")

// IMAP is a logged-in IMAP connection over TLS. It belongs to one goroutine.
type IMAP struct {
	o         Options
	c         *conn
	imap      *imapclient.Client
	node      string
	selected  string
	condstore bool
	came      atomic.Int64 // EXISTS that no command of ours asked for, as the library's reader counts them
	went      atomic.Int64 // EXPUNGE, the same
}

// DialIMAP connects to a node and logs in. Outcome tells what became of the login, IsAuth whether the password was refused.
func DialIMAP(ctx context.Context, o Options, n Node, address, password string) (*IMAP, error) {
	o = o.filled()
	if n.TLS == nil {
		return nil, failed(fmt.Errorf("imap at %s: %w", n.Name, errNoService))
	}
	c, err := connect(ctx, o, n.IMAPS, n.TLS)
	if err != nil {
		return nil, failed(fmt.Errorf("imap at %s: %w", n.Name, err))
	}
	s := &IMAP{o: o, c: c, node: n.Name}
	defer c.begin(ctx, o.Timeout)()
	s.imap = imapclient.New(c, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Expunge: func(uint32) { s.went.Add(1) },
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				s.came.Add(1)
			}
		},
	}})
	if err := s.imap.WaitGreeting(); err != nil {
		s.Close()
		return nil, failed(fmt.Errorf("greeting of %s: %w", n.Name, err))
	}
	if err := s.imap.Authenticate(sasl.NewPlainClient("", address, password)); err != nil {
		s.Close()
		return nil, imapLoginError(fmt.Errorf("log in at %s: %w", n.Name, err), c.left())
	}
	s.condstore = s.imap.Caps().Has(imap.CapCondStore)
	return s, nil
}

// imapLoginError judges a login that was not acknowledged. A login changes nothing, so that every NO is definite.
func imapLoginError(err error, sent bool) error {
	var answer *imap.Error
	if errors.As(err, &answer) {
		return &OpError{Outcome: history.Fail, Auth: answer.Code == imap.ResponseCodeAuthenticationFailed, Err: err}
	}
	return judge(err, sent)
}

// Alive tells whether the connection can take another command, as far as is known.
func (s *IMAP) Alive() bool {
	if !s.c.left() {
		return false
	}
	select {
	case <-s.imap.Closed():
		return false
	default:
		return true
	}
}

// Close ends the connection, and the library's goroutine.
func (s *IMAP) Close() { _ = s.imap.Close() } // there is nothing left to save

// Selected is the mailbox that the commands about messages go to.
func (s *IMAP) Selected() string { return s.selected }

// do runs a command under a deadline. A connection that is known to be dead is not tried: its command was never sent.
func (s *IMAP) do(ctx context.Context, what string, f func() error) error {
	if !s.Alive() {
		return failed(fmt.Errorf("%s at %s: %w", what, s.node, errDead))
	}
	defer s.c.begin(ctx, s.o.Timeout)()
	err := f()
	if err == nil {
		return nil
	}
	return judge(fmt.Errorf("%s at %s: %w", what, s.node, err), s.c.left())
}

// Create makes a mailbox. One that exists is no error.
func (s *IMAP) Create(ctx context.Context, mailbox string) error {
	return s.do(ctx, "create", func() error {
		err := s.imap.Create(mailbox, nil).Wait()
		var answer *imap.Error
		if errors.As(err, &answer) && answer.Code == imap.ResponseCodeAlreadyExists {
			return nil
		}
		return err
	})
}

// Append stores a message and answers its UID.
func (s *IMAP) Append(ctx context.Context, mailbox string, msg []byte, flags ...string) (uid uint32, err error) {
	opts := &imap.AppendOptions{}
	for _, f := range flags {
		opts.Flags = append(opts.Flags, imap.Flag(f))
	}
	literal := true
	err = s.do(ctx, "append", func() error {
		cmd := s.imap.Append(mailbox, int64(len(msg)), opts)
		_, err := cmd.Write(msg)
		literal = err == nil
		closed := cmd.Close()
		data, answer := cmd.Wait()
		uid = uint32(data.UID)
		return errors.Join(answer, err, closed)
	})
	var op *OpError
	if errors.As(err, &op) && !literal {
		op.Outcome = history.Fail // refused, or broken, before the message was sent
	}
	return uid, err
}

// Move moves a message of the selected mailbox and answers its new UID; 0: there was nothing to move.
func (s *IMAP) Move(ctx context.Context, uid uint32, dest string) (destUID uint32, err error) {
	err = s.do(ctx, "move", func() error {
		data, err := s.imap.Move(imap.UIDSetNum(imap.UID(uid)), dest).Wait()
		if err != nil {
			return err
		}
		if to, ok := data.DestUIDs.(imap.UIDSet); ok {
			if nums, ok := to.Nums(); ok && len(nums) == 1 {
				destUID = uint32(nums[0])
			}
		}
		return nil
	})
	return destUID, err
}

// Expunge removes a message of the selected mailbox that is marked as deleted.
func (s *IMAP) Expunge(ctx context.Context, uid uint32) error {
	return s.do(ctx, "expunge", func() error { return s.imap.UIDExpunge(imap.UIDSetNum(imap.UID(uid))).Close() })
}
