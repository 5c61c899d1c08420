package remote

import (
	"fmt"
	"strings"

	"github.com/quorumail/quorumail/protocol/mime"
)

// decide says what becomes of a part and of those in it. RFC 1847 §2.1: what is signed must not change by a byte.
func (p *plan) decide(part *mime.Part, signed bool) error {
	if err := p.decideHeader(p.headers[part], signed); err != nil {
		return err
	}
	switch {
	case part.Message != nil:
		return p.decide(part.Message.Root, signed)
	case part.IsMultipart():
		for _, child := range part.Parts {
			if err := p.decide(child, signed || part.Type == "multipart" && part.Subtype == "signed"); err != nil {
				return err
			}
		}
		return nil
	}
	return p.decideBody(part, signed)
}

// decideHeader: long lines can be folded; other bytes than ASCII would need another message.
func (p *plan) decideHeader(s *segment, signed bool) error {
	without := s.facts
	without.long = false
	switch {
	case !without.fits(p.to):
		return fmt.Errorf("%w: a header has bytes that do not suit", errConvert)
	case s.facts.long && !p.to.binary:
		s.fold = true
	}
	if !signed {
		s.encoding = p.label(s.part.Encoding)
	}
	return p.changeable(s, signed)
}

func (p *plan) changeable(s *segment, signed bool) error {
	switch {
	case s.encoding == "" && !s.fold:
		return nil
	case signed:
		return fmt.Errorf("%w: it is signed", errConvert)
	case s.raw == nil && s.end > s.start:
		return fmt.Errorf("%w: a header is too long", errConvert)
	}
	return nil
}

// label is the Content-Transfer-Encoding in place of one that promises more than may come, "" if it may stay (RFC 2045 §6.2).
func (p *plan) label(encoding string) string {
	switch {
	case p.to.binary, encoding != "8bit" && encoding != "binary":
		return ""
	case !p.to.eightBit:
		return "7bit"
	case encoding == "binary":
		return "8bit"
	}
	return ""
}

// decideBody chooses an encoding for a body that does not suit.
func (p *plan) decideBody(part *mime.Part, signed bool) error {
	header, body := p.headers[part], p.bodies[part]
	if body.facts.fits(p.to) {
		return nil
	}
	if signed {
		return fmt.Errorf("%w: it is signed", errConvert)
	}
	if body.facts.bare && part.Encoding != "binary" {
		// Only binary data may hold a CR or LF alone (RFC 2045 §2.7 to §2.9). In a text nobody can tell what was meant.
		return fmt.Errorf("%w: it has a bare CR or LF", errConvert)
	}
	declared := strings.ToLower(strings.TrimSpace(mime.ParseHeader(header.raw).Get("Content-Type")))
	switch part.Encoding {
	case "base64", "quoted-printable":
		body.encoding = part.Encoding // decoded and encoded anew; the label stays
		return nil
	case "7bit", "8bit", "binary":
	default:
		return fmt.Errorf("%w: it has a part in the encoding %q", errConvert, part.Encoding)
	}
	// RFC 2045 §6.4, RFC 2046 §5.2: these may not be encoded. A multipart here is one without parts.
	if strings.HasPrefix(declared, "multipart/") || strings.HasPrefix(declared, "message/") {
		return fmt.Errorf("%w: it has a part of a type that must not be encoded", errConvert)
	}
	body.encoding = "base64"
	if part.Type == "text" {
		body.encoding = "quoted-printable"
	}
	header.encoding = body.encoding
	return p.changeable(header, signed)
}
