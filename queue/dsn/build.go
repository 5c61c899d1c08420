package dsn

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"mime/quotedprintable"
	"unicode/utf8"
)

// Build writes the notice, a whole message with CRLF line ends, to w. It holds one header of the original in memory, never its body. Its
// errors are those of a Report that cannot be told (ErrReport), of reading the original, and of w.
func Build(w io.Writer, r Report) error {
	if err := r.check(); err != nil {
		return err
	}
	n := &notice{w: w, r: &r, boundary: boundary(r.ID, nil)}
	if r.Original != nil {
		if err := n.readOriginal(); err != nil {
			return fmt.Errorf("notice %s: %w", r.ID, err)
		}
	}
	if err := n.write(); err != nil {
		return fmt.Errorf("notice %s: %w", r.ID, err)
	}
	return nil
}

// notice is one notice on its way out.
type notice struct {
	w        io.Writer
	r        *Report
	boundary string
	original *original
	back     returned
}

func (n *notice) readOriginal() (err error) {
	limit := n.r.MaxOriginalBytes
	if limit <= 0 {
		limit = DefaultMaxOriginalBytes
	}
	if n.original, err = scanOriginal(n.r.Original, limit); err != nil {
		return err
	}
	n.back = n.r.choose(n.original, limit)
	n.boundary = boundary(n.r.ID, n.original.digest.Sum(nil))
	return nil
}

// boundary cannot occur in the message from which the digest was made, nor, with "=_", in what is encoded.
func boundary(id string, digest []byte) string {
	return "=_" + cut(id, 20) + "." + hex.EncodeToString(digest[:min(len(digest), 16)])
}

func (n *notice) write() error {
	for _, step := range []func() error{n.header, n.people, n.status, n.returned} {
		if err := step(); err != nil {
			return err
		}
	}
	_, err := io.WriteString(n.w, "\r\n--"+n.boundary+"--\r\n")
	return err
}

func (n *notice) header() error {
	r, utf8 := n.r, n.r.NeedsUTF8()
	name := r.FromName
	if name == "" {
		name = "Mail Delivery System"
	}
	f := &fields{w: n.w}
	f.add("From", mailbox(name, r.From, utf8))
	f.add("To", "<"+r.To.Wire(utf8)+">")
	f.text("Subject", n.subject())
	f.time("Date", r.Now)
	f.add("Message-ID", "<"+r.ID+"@"+r.ReportingMTA+">")
	f.add("In-Reply-To", messageID(r.MessageID))
	f.add("References", messageID(r.MessageID))
	f.add("Auto-Submitted", "auto-replied") // RFC 3834 §5
	f.add("Content-Language", "vi, en")
	f.add("MIME-Version", "1.0")
	f.add("Content-Type", "multipart/report; report-type=delivery-status;\r\n\tboundary=\""+n.boundary+"\"") // RFC 6522 §3
	if n.has8bit() {
		f.add("Content-Transfer-Encoding", "8bit")
	}
	f.end()
	return f.err
}

func (n *notice) subject() string {
	s := vietnamese().subject[n.r.Kind] + " / " + english().subject[n.r.Kind]
	if about := clean(n.r.Subject, 200); about != "" {
		s += ": " + about
	}
	return s
}

// part begins a part.
func (n *notice) part(contentType, encoding, description string) error {
	f := &fields{w: n.w}
	f.raw("\r\n--" + n.boundary + "\r\n")
	f.add("Content-Description", description)
	f.add("Content-Type", contentType)
	f.add("Content-Transfer-Encoding", encoding)
	f.end()
	return f.err
}

func (n *notice) people() error {
	if err := n.part("text/plain; charset=utf-8", "quoted-printable", "Notification"); err != nil {
		return err
	}
	w := quotedprintable.NewWriter(n.w)
	if err := writePeople(w, n.r, n.back); err != nil {
		return err
	}
	return w.Close()
}

func (n *notice) status() error {
	global := n.r.globalStatus()
	kind, encoding := "message/delivery-status", ""
	if global { // RFC 6533 §4
		kind, encoding = "message/global-delivery-status", "8bit"
	}
	if err := n.part(kind, encoding, "Delivery report"); err != nil {
		return err
	}
	return writeStatus(n.w, n.r, global)
}

// form is how the third part is labelled and encoded.
type form struct{ contentType, encoding string }

// form chooses the third part's. A whole message may have 8 bits but must not be encoded, unless it is message/global (RFC 6532 §3.7); headers
// may be encoded.
func (n *notice) form() form {
	o, utf8Way := n.original, n.r.NeedsUTF8()
	global := o.header8 && utf8.Valid(o.header)
	switch {
	case n.back == whole && global && utf8Way:
		return form{"message/global", "8bit"}
	case n.back == whole && global:
		return form{"message/global", "base64"}
	case n.back == whole && (o.header8 || o.body8):
		return form{"message/rfc822", "8bit"}
	case n.back == whole:
		return form{"message/rfc822", ""}
	case global && utf8Way && !o.noLines:
		return form{"message/global-headers", "8bit"}
	case global:
		return form{"message/global-headers", "base64"}
	case o.header8 || o.noLines:
		return form{"text/rfc822-headers", "quoted-printable"} // RFC 6522 §4
	}
	return form{"text/rfc822-headers", ""}
}

// has8bit tells whether a part is in 8 bits; then the whole is (RFC 2045 §6.4).
func (n *notice) has8bit() bool {
	return n.r.globalStatus() || n.original != nil && n.form().encoding == "8bit"
}

func (n *notice) returned() error {
	if n.back == nothing {
		return nil
	}
	f := n.form()
	description := "Undelivered message"
	if n.back == header {
		description = "Header of the message"
	}
	if err := n.part(f.contentType, f.encoding, description); err != nil {
		return err
	}
	w := encoder(n.w, f.encoding)
	if n.back == whole {
		if err := copyWhole(w, n.r.Original, n.original.size); err != nil {
			return err
		}
	} else if _, err := w.Write(n.original.header); err != nil {
		return err
	}
	return w.Close()
}

// encoder applies a transfer encoding.
func encoder(w io.Writer, encoding string) io.WriteCloser {
	switch encoding {
	case "base64":
		return base64.NewEncoder(base64.StdEncoding, &lineBreaker{w: w})
	case "quoted-printable":
		return quotedprintable.NewWriter(w)
	}
	return identity{w}
}

type identity struct{ io.Writer }

func (identity) Close() error { return nil }

// lineBreaker ends lines after 76 characters (RFC 2045 §6.8).
type lineBreaker struct {
	w io.Writer
	n int
}

func (l *lineBreaker) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if l.n == 76 {
			if _, err := io.WriteString(l.w, "\r\n"); err != nil {
				return 0, err
			}
			l.n = 0
		}
		k := min(len(p), 76-l.n)
		if _, err := l.w.Write(p[:k]); err != nil {
			return 0, err
		}
		l.n += k
		p = p[k:]
	}
	return total, nil
}
