package imapd

import (
	"context"
	"strings"
	"time"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
)

// idle: RFC 9051 §6.3.13. Changes are told when they happen on this node.
func (s *session) idle(ctx context.Context, _ *imap.Command) (answer, error) {
	var changed <-chan struct{}
	if s.sel != nil {
		// The watch begins before the first look, so that nothing falls between them.
		watch := s.cfg.Store.Watch(s.account(), s.sel.id)
		defer watch.Close()
		changed = watch.C()
	}
	s.w.Continue("idling")
	if err := s.tellNow(); err != nil {
		return answer{}, err
	}
	// The reader has the connection's read side until it ends; it must not flush what this goroutine writes.
	s.conn.beforeRead = nil
	defer func() { s.conn.beforeRead = s.w.Flush }()
	s.conn.await(time.Now().Add(s.cfg.Limits.Idle))
	line := make(chan idleLine, 1)
	go func() {
		text, err := s.r.ReadLine()
		line <- idleLine{text, err}
	}()
	got, err := s.idleUntil(ctx, changed, line)
	if err != nil {
		// The reader still waits for the client: without its end the session could not go on, and it does not.
		s.conn.interrupt()
		<-line
		return answer{}, err
	}
	switch {
	case got.err != nil:
		return answer{}, readFailed(got.err)
	case !strings.EqualFold(strings.TrimSpace(got.text), "DONE"):
		return answer{}, bad("DONE expected")
	}
	return answer{text: "IDLE completed"}, nil
}

// idleLine is what the client said.
type idleLine struct {
	text string
	err  error
}

// idleUntil tells changes until the client says something. An error ends the session.
func (s *session) idleUntil(ctx context.Context, changed <-chan struct{}, line <-chan idleLine) (idleLine, error) {
	tick := time.NewTicker(s.cfg.Limits.IdleNews)
	defer tick.Stop()
	for {
		select {
		case got := <-line:
			return got, nil
		case <-changed:
			if err := s.tellNow(); err != nil {
				return idleLine{}, err
			}
		case <-tick.C:
			// Cut off from the others this node learns of nothing, and the client would wait for news in vain: it turns to another node.
			if s.ready() != nil {
				return idleLine{}, &byeError{imap.CodeUnavailable, "Service unavailable just now"}
			}
			s.w.Status("", imap.StatusOK, "", "Still here")
			if err := s.w.Flush(); err != nil {
				return idleLine{}, readFailed(err)
			}
		case <-s.draining.Done():
			code, text := s.farewell()
			return idleLine{}, &byeError{code, text}
		case <-ctx.Done():
			return idleLine{}, readFailed(ctx.Err())
		}
	}
}

// tellNow tells what changed and sends it. Whatever fails here ends the session: within IDLE there is no tagged answer to say so.
func (s *session) tellNow() error {
	if s.sel != nil {
		if err := s.tell(true, nil); err != nil {
			if _, is := err.(*byeError); is {
				return err
			}
			s.log.Error("look for changes", "account", s.account(), "mailbox", store.MailboxID(s.sel.id), "err", err)
			return &byeError{imap.CodeUnavailable, "Service unavailable just now"}
		}
	}
	return readFailed(s.w.Flush())
}
