package remote

import (
	"bytes"
	"strings"

	"github.com/quorumail/quorumail/protocol/mime"
)

// rewrite makes a header with the label that its segment is to have.
func (p *plan) rewrite(s *segment) []byte {
	fields := mime.ParseHeader(s.raw)
	var out []byte
	rest, labelled := s.raw, s.encoding == ""
	for _, f := range fields {
		rest = rest[len(f.Raw):]
		if s.encoding == "" || !strings.EqualFold(f.Name, "Content-Transfer-Encoding") {
			out = append(out, f.Raw...)
		} else if !labelled { // the first counts, and further ones go
			out, labelled = append(out, encodingField(s.encoding)...), true
		}
	}
	if !labelled {
		out = append(ended(out), encodingField(s.encoding)...)
	}
	if s.encoding == "quoted-printable" || s.encoding == "base64" {
		out = append(out, p.added(s, fields)...)
	}
	out = append(out, rest...)
	if s.fold {
		out = fold(out)
	}
	return out
}

func encodingField(encoding string) string { return "Content-Transfer-Encoding: " + encoding + "\r\n" }

// ended completes a last line without end.
func ended(b []byte) []byte {
	if len(b) > 0 && b[len(b)-1] != '\n' {
		return append(b, "\r\n"...)
	}
	return b
}

// added are the fields without which the label would mean nothing: in a message that knew nothing of MIME. RFC 1428 §3 names the charset.
func (p *plan) added(s *segment, fields mime.Header) (out string) {
	if body := p.bodies[s.part]; body != nil && body.facts.eightBit && fields.Get("Content-Type") == "" && s.part.Type == "text" {
		out += "Content-Type: text/plain; charset=unknown-8bit\r\n"
	}
	if s.root && fields.Get("MIME-Version") == "" {
		out += "MIME-Version: 1.0\r\n"
	}
	return out
}

// fold breaks header lines that are too long before a blank within them, which changes nothing (RFC 5322 §2.2.3). A line without one stays.
func fold(header []byte) []byte {
	var out []byte
	for line := range bytes.Lines(header) {
		text := bytes.TrimRight(line, "\r\n")
		for len(text) > maxLine {
			at := bytes.LastIndexAny(text[:maxLine+1], " \t")
			if at < 1 || len(bytes.TrimSpace(text[:at])) == 0 || len(bytes.TrimSpace(text[at:])) == 0 {
				break
			}
			out = append(append(out, text[:at]...), "\r\n"...)
			line, text = line[at:], text[at:]
		}
		out = append(out, line...)
	}
	return out
}
