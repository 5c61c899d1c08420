package smtpd

import (
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// submit makes a user's message fit for the world (RFC 6409 §6): its authors must be the user, and Bcc does not leave.
func (s *session) submit(m *incoming) error {
	h := m.head
	authors, err := senders(h)
	if err != nil {
		return err
	}
	for _, a := range authors {
		if err := s.owns(a, "From"); err != nil {
			return err
		}
	}
	h.replace("bcc", "")
	h.replace("resent-bcc", "")
	h.replace("return-path", "") // RFC 5321 §4.4: it is added at final delivery
	return nil
}

// missing are the fields that every message has, and this one has not (RFC 6409 §8). Messages of other servers are left as they are.
func (s *session) missing(m *incoming) string {
	var added strings.Builder
	if m.head.count("message-id") == 0 {
		m.messageID = fmt.Sprintf("<%s.%s@%s>", m.t.queueID, newQueueID(m.now), s.srv.cfg.Hostname)
		added.WriteString("Message-ID: " + m.messageID + "\r\n")
	}
	if m.head.count("date") == 0 {
		fmt.Fprintf(&added, "Date: %s\r\n", m.now.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	}
	return added.String()
}

// addresses reads address lists. Names in charsets that are not known here are left as they are: only the addresses matter.
var addresses = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
}}

// senders are the addresses in From and Sender.
func senders(h *head) ([]smtp.Address, error) {
	from := h.values("from")
	if len(from) != 1 {
		return nil, reply(550, 5, 6, 0, "Message needs one From field, and has "+fmt.Sprint(len(from))) // RFC 5322 §3.6
	}
	sender := h.values("sender")
	if len(sender) > 1 {
		return nil, reply(550, 5, 6, 0, "Message has several Sender fields")
	}
	var found []smtp.Address
	for _, value := range append(from, sender...) {
		list, err := addresses.ParseList(value)
		if err != nil {
			return nil, reply(550, 5, 6, 0, "From or Sender cannot be read: "+oneLine(err.Error()))
		}
		for _, a := range list {
			read, err := smtp.ParseAddress(quoteLocal(a.Address))
			if err != nil {
				return nil, reply(550, 5, 6, 0, "From or Sender has a bad address: "+oneLine(err.Error()))
			}
			found = append(found, read)
		}
	}
	if len(found) == 0 {
		return nil, reply(550, 5, 6, 0, "From names no address") // a group without members
	}
	return found, nil
}

// quoteLocal writes an address from package mail, which takes the quotes of the local part away, as RFC 5321 has it.
func quoteLocal(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	local := address[:at]
	if !strings.ContainsAny(local, "@ \t\"\\(),:;<>[]") {
		return address
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"` + address[at:]
}

// trace is the session's part of a message's Received field. RFC 6531 §3.7.3: only a message that needs
// SMTPUTF8 may have UTF-8 in it, or it would need it from then on.
func (s *session) trace(m *incoming) trace {
	t := m.t
	tr := trace{Helo: s.helo, Remote: s.w.remote, Hostname: s.srv.cfg.Hostname, Node: s.srv.cfg.Node, TLS: s.w.tls,
		LMTP: s.srv.cfg.Mode == LMTP, Plain: s.w.plainHelo, Authed: s.authed, UTF8: t.utf8, QueueID: t.queueID, From: t.from.Wire(m.utf8), Date: m.now}
	if len(t.recipients) == 1 {
		tr.For = t.recipients[0].address.Wire(m.utf8)
	}
	return tr
}
