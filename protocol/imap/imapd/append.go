package imapd

import (
	"context"
	"errors"
	"io"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/store/storepb"
)

// append: RFC 9051 §6.3.12. The message is streamed into a body; the OK leaves when it is durable on a majority and visible here.
func (s *session) append(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.AppendArgs)
	if err := s.cfg.Store.Ready(); err != nil { // also of a full disk
		return answer{}, err
	}
	mb, err := s.destination(ctx, args.Mailbox)
	if err != nil {
		return answer{}, err
	}
	msg, err := s.r.NextAppend()
	if err != nil {
		return answer{}, appendFailed(err)
	}
	body, add, err := s.receive(mb, msg)
	if err != nil {
		return answer{}, err
	}
	defer body.Abort() // of no effect once it was added
	// The command must be complete before anything is done.
	if _, err := s.r.NextAppend(); err == nil {
		return answer{}, no(imap.CodeLimit, "One message at a time")
	} else if err != io.EOF {
		return answer{}, appendFailed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.Accept)
	defer cancel()
	res, err := s.cfg.Store.AddMessage(ctx, body, add)
	if err != nil {
		return answer{}, unknown("append", err)
	}
	if len(res.GetPlaced()) != 1 {
		return answer{}, errors.New("append: the result has no message")
	}
	p := res.GetPlaced()[0]
	return answer{code: imap.CodeAppendUID(p.GetUidValidity(), imap.SetOf(p.GetUid()))}, nil
}

// appendFailed: without more messages than none the command was no APPEND; the rest is the Reader's.
func appendFailed(err error) error {
	if err == io.EOF {
		return bad("Message expected")
	}
	return readFailed(err)
}

// receive streams a message into a new body and makes the command's message of it.
func (s *session) receive(mb *storepb.Mailbox, msg *imap.AppendMessage) (Body, *storepb.AddMessage, error) {
	flags, keywords, err := s.parseFlags(msg.Flags)
	if err != nil {
		return nil, nil, err
	}
	if msg.Size == 0 {
		return nil, nil, no(imap.CodeCannot, "A message without a byte")
	}
	body, err := s.cfg.Store.NewBody()
	if err != nil {
		return nil, nil, err
	}
	summarizer := mime.NewSummarizer()
	in := &source{r: msg.Body}
	if _, err := io.Copy(io.MultiWriter(body, summarizer), in); err != nil {
		body.Abort()
		if in.err != nil {
			return nil, nil, readFailed(in.err)
		}
		return nil, nil, err
	}
	date := msg.Date
	if date.IsZero() {
		date = s.cfg.Now()
	}
	_, offset := date.Zone()
	return body, &storepb.AddMessage{
		Summary: summarizer.Summary().Marshal(),
		Targets: []*storepb.Target{{
			Account: uint64(s.account()), Mailbox: mb.GetId(), Flags: uint32(flags), Keywords: keywords,
			InternalDateUnix: date.Unix(), InternalDateZone: int32(offset / 60), EnforceQuota: true,
		}},
	}, nil
}

// source keeps errors of the connection apart from those of the body.
type source struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
