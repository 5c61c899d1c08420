package imap

import (
	"strings"

	"github.com/quorumail/quorumail/protocol/mime"
)

// envelope: RFC 9051 §7.5.2 and §9, envelope.
func (w *Writer) envelope(e *mime.Envelope) {
	w.Open()
	w.value(e.Date)
	w.value(e.Subject)
	for _, list := range [...][]mime.Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		w.addresses(list)
	}
	w.value(e.InReplyTo)
	w.value(e.MessageID)
	w.Close()
}

func (w *Writer) value(v mime.Value) { w.NString(v.Text, v.Present) }

// addresses writes a list of address structures (name adl mailbox host), or NIL for none. The elements of the list follow each other without
// a blank: RFC 9051 §9, "(" 1*address ")".
func (w *Writer) addresses(list []mime.Address) {
	if len(list) == 0 {
		w.Atom("NIL")
		return
	}
	w.Open()
	for _, a := range list {
		w.fresh = true
		w.address(a)
	}
	w.Close()
}

func (w *Writer) address(a mime.Address) {
	w.Open()
	switch a.Kind {
	case mime.GroupStart: // RFC 9051 §7.5.2: no host, the mailbox is the group's name
		w.Atom("NIL NIL")
		w.String(a.Mailbox)
		w.Atom("NIL")
	case mime.GroupEnd:
		w.Atom("NIL NIL NIL NIL")
	default:
		w.NString(a.Name, a.Name != "")
		w.Atom("NIL")
		w.String(a.Mailbox)
		// NIL would mean a group, so that a missing host is empty.
		w.String(a.Host)
	}
	w.Close()
}

// body: RFC 9051 §9, body.
func (w *Writer) body(p *mime.Part, extended bool) {
	w.Open()
	switch {
	case p.IsMultipart():
		w.multipart(p, extended)
	default:
		w.leaf(p, extended)
	}
	w.Close()
}

func (w *Writer) multipart(p *mime.Part, extended bool) {
	for _, child := range p.Parts { // 1*body, without blanks between
		w.fresh = true
		w.body(child, extended)
	}
	w.String(p.Subtype)
	if extended {
		w.params(p.Params)
		w.extension(p)
	}
}

func (w *Writer) leaf(p *mime.Part, extended bool) {
	w.String(p.Type)
	w.String(p.Subtype)
	w.params(p.Params)
	w.nilIfEmpty(p.ID)
	w.nilIfEmpty(p.Description)
	w.String(p.Encoding)
	w.Uint(uint64(p.Size()))
	switch {
	case p.Message != nil: // media-message
		w.envelope(&p.Message.Envelope)
		w.body(p.Message.Root, extended)
		w.Uint(uint64(p.Lines))
	case p.Type == "text":
		w.Uint(uint64(p.Lines))
	}
	if extended {
		w.nilIfEmpty(p.MD5)
		w.extension(p)
	}
}

func (w *Writer) nilIfEmpty(s string) { w.NString(s, s != "") }

// extension writes disposition, language and location.
func (w *Writer) extension(p *mime.Part) {
	if p.Disposition == "" {
		w.Atom("NIL")
	} else {
		w.Open()
		w.String(p.Disposition)
		w.params(p.DispositionParams)
		w.Close()
	}
	switch len(p.Language) {
	case 0:
		w.Atom("NIL")
	case 1:
		w.String(p.Language[0])
	default:
		w.Open()
		for _, l := range p.Language {
			w.String(l)
		}
		w.Close()
	}
	w.nilIfEmpty(p.Location)
}

// params writes body-fld-param. A value beyond ASCII goes out in the form of RFC 2231 §4, with a star behind its name and its charset in
// front: the strings of a structure may not be in a charset that nothing names.
func (w *Writer) params(params []mime.Param) {
	if len(params) == 0 {
		w.Atom("NIL")
		return
	}
	w.Open()
	for _, q := range params {
		name, value := q.Name, q.Value
		if !isPrintable(value) {
			name, value = name+"*", "utf-8''"+percentEncode(strings.ToValidUTF8(value, "\uFFFD"))
		}
		w.String(name)
		w.String(value)
	}
	w.Close()
}

func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// percentEncode: RFC 2231 §7, ext-octet for all that is no attribute-char.
func percentEncode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if isLetter(c) || isDigit(c) || strings.IndexByte("!#$&+-.^_`{|}~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		const hex = "0123456789ABCDEF"
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}
