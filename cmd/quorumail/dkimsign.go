package main

import (
	"context"
	"errors"
	"io"
	"net/netip"

	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/protocol/dkim"
	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/queue"
)

// sign makes the DKIM signatures of a message that leaves (queue.Mail.Sign): one for each key of the domain in its From field, which is what
// others compare with the signature's (DMARC). Messages that strangers wrote, and that are only passed on, are not signed.
func (n *node) sign(ctx context.Context, m *queue.Message, open func() (io.ReadCloser, error)) ([]byte, error) {
	if !ownMail(m, config.SMTPTrustedNetworks.From(n.directory.Lookup)) {
		return nil, nil
	}
	domain := authorDomain(m)
	if domain == "" {
		return nil, nil
	}
	signer, err := n.signers.of(domain)
	switch {
	case errors.Is(err, errOtherSecretsKey):
		n.log.Warn("a message leaves without its DKIM signature", "pkg", "main", "msg", m.QueueId, "err", err)
		return nil, nil // the status says so, too; waiting would not help
	case err != nil || signer == nil:
		return nil, err
	}
	fields, err := signer.Sign(ctx, open)
	if errors.Is(err, dkim.ErrUnsignable) {
		n.log.Info("a message cannot be signed", "pkg", "main", "msg", m.QueueId, "err", err)
		return nil, nil
	}
	return fields, err
}

// ownMail tells whether a message is of this site: a user submitted it, a client of a trusted network did, or it was written here.
func ownMail(m *queue.Message, trusted []netip.Prefix) bool {
	if m.Account != 0 || m.Client == "" {
		return true
	}
	client, err := netip.ParseAddr(m.Client)
	if err != nil {
		return false
	}
	for _, p := range trusted {
		if p.Contains(client.Unmap()) {
			return true
		}
	}
	return false
}

// authorDomain is the domain of the From field, "" when there is not just one.
func authorDomain(m *queue.Message) string {
	s, err := mime.UnmarshalSummary(m.Summary)
	if err != nil {
		return ""
	}
	e, known := s.Envelope()
	if !known || len(e.From) == 0 {
		return ""
	}
	var found string
	for _, a := range e.From {
		domain, err := smtp.ParseDomain(a.Host)
		if err != nil || found != "" && domain != found {
			return ""
		}
		found = domain
	}
	return found
}
