package smtpd

import (
	"context"
	"fmt"
	"io"

	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Replica is the part of *replica.Replica that takes mail; U is *replica.Upload.
type Replica[U Body] interface {
	Ready() error
	NewBody() (U, error)
	AddMessage(ctx context.Context, body U, msg *storepb.AddMessage) (*storepb.Result, error)
}

// FromReplica makes a Store of a node's copy.
func FromReplica[U Body](r Replica[U]) Store { return replicaStore[U]{r} }

type replicaStore[U Body] struct{ r Replica[U] }

// Ready implements Store.
func (s replicaStore[U]) Ready() error { return s.r.Ready() }

// NewBody implements Store.
func (s replicaStore[U]) NewBody() (Body, error) {
	up, err := s.r.NewBody()
	if err != nil {
		return nil, err
	}
	return up, nil
}

// AddMessage implements Store.
func (s replicaStore[U]) AddMessage(ctx context.Context, body Body, msg *storepb.AddMessage) (*storepb.Result, error) {
	up, ok := body.(U)
	if !ok {
		return nil, fmt.Errorf("smtpd: a body of type %T: %w", body, store.ErrInvalid)
	}
	return s.r.AddMessage(ctx, up, msg)
}

// MIMESummarizer computes the summaries that IMAP and search read.
func MIMESummarizer() Summarizer { s := mime.NewSummarizer(); return mimeSummarizer{s, s} }

type mimeSummarizer struct {
	io.Writer
	s *mime.Summarizer
}

// Finish implements Summarizer.
func (m mimeSummarizer) Finish() ([]byte, error) { return m.s.Summary().Marshal(), nil }
