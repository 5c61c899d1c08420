package queue

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/queue/dsn"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Notices writes notices as RFC 3464 has them.
type Notices struct {
	// Hostname is this node's, which reports.
	Hostname string
	// From is whom a reader can answer.
	From func() smtp.Address
}

var noticeKinds = map[store.Notice]dsn.Kind{store.NoticeFailed: dsn.Failed, store.NoticeDelayed: dsn.Delayed, store.NoticeDelivered: dsn.Delivered,
	store.NoticeRelayed: dsn.Relayed, store.NoticeExpanded: dsn.Expanded}

// Write implements NoticeWriter.
func (s Notices) Write(ctx context.Context, w io.Writer, n Notice) error {
	to, err := smtp.ParseAddress(n.To)
	if err != nil {
		return fmt.Errorf("read the address of who is told: %w", err)
	}
	e := n.Message.GetEnvelope()
	r := dsn.Report{Kind: noticeKinds[n.Kind], ReportingMTA: s.Hostname, From: s.From(), To: to, EnvID: e.GetEnvid(), Ret: retOf(e),
		Arrival: time.UnixMilli(n.Message.ReceivedUnixMs), MessageID: n.Message.MessageId, Subject: subject(n.Message.Summary), Now: n.Now, ID: n.ID,
		Original: func() (io.ReadCloser, error) { return n.Message.Open(ctx) }}
	if n.Postmaster {
		r.Kind = dsn.DoubleBounce
	}
	for _, x := range n.Recipients {
		rcpt, err := told(x, n)
		if err != nil {
			return err
		}
		r.Recipients = append(r.Recipients, rcpt)
	}
	return dsn.Build(w, r)
}

var rets = map[string]dsn.Ret{"FULL": dsn.RetFull, "HDRS": dsn.RetHeaders}

// retOf: RFC 8689 §5. What asked for TLS does not come back whole, whatever RET said.
func retOf(e *storepb.Envelope) dsn.Ret {
	if e.GetRequireTls() {
		return dsn.RetHeaders
	}
	return rets[e.GetRet()]
}

// told is what is said of one recipient. Who wrote to an address here hears of that one, not of where it leads to.
func told(e *storepb.QueueEntry, n Notice) (dsn.Recipient, error) {
	address := e.Address
	if e.Original != "" {
		address = e.Original
	}
	final, err := smtp.ParseAddress(address)
	if err != nil {
		return dsn.Recipient{}, fmt.Errorf("read a recipient: %w", err)
	}
	r := dsn.Recipient{Final: final, Original: e.Orcpt, Status: e.Status, RemoteMTA: host(e.Peer), Diagnostic: diagnostic(e), LastAttempt: time.UnixMilli(e.LastUnixMs)}
	if n.Kind == store.NoticeDelayed {
		r.WillRetryUntil = n.RetryUntil
	}
	if e.LastUnixMs == 0 {
		r.LastAttempt = time.Time{}
	}
	return r, nil
}

func diagnostic(e *storepb.QueueEntry) string {
	if e.Code == 0 {
		return e.Reason
	}
	return fmt.Sprintf("%d %s %s", e.Code, e.Status, e.Reason)
}

// host is a peer's name without its address.
func host(peer string) string {
	for i := range len(peer) {
		if peer[i] == ' ' {
			return peer[:i]
		}
	}
	return peer
}

// subject is that of a message; "" where it cannot be read.
func subject(summary []byte) string {
	s, err := mime.UnmarshalSummary(summary)
	if err != nil {
		return ""
	}
	e, known := s.Envelope()
	if !known {
		return ""
	}
	return mime.DecodeHeader(e.Subject.Text)
}
