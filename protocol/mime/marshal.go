package mime

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// summaryVersion is the first byte of a marshalled Summary. A change of the form takes the next number, and readers keep all
// former ones.
const summaryVersion = 1

const (
	flagStructure        = 1 << iota // a structure follows
	flagStructureOmitted             // there was one, too large to keep
	flagTruncated                    // Structure.Truncated
)

// Marshal returns the compact binary form, of at most MaxSummaryBytes. What does not fit is left out and said to
// be: first the structure of the parts, then the largest fields. The form is
//
//	version byte, flags byte, RawBytes, HeaderBytes, Lines, Preview, number of OmittedFields, OmittedFields…, Fields, [root part]
//
// with numbers as unsigned varints and strings as a varint: twice the length, then the bytes, or an odd number, that of a
// common string. Offsets of a part are relative to the BodyStart of the part around it.
func (s *Summary) Marshal() []byte {
	b := s.marshal(s.Structure, s.Fields, s.OmittedFields)
	if len(b) <= MaxSummaryBytes {
		return b
	}
	if b = s.marshal(nil, s.Fields, s.OmittedFields); len(b) <= MaxSummaryBytes {
		return b
	}
	return s.marshal(nil, nil, []string{allFields})
}

func (s *Summary) marshal(st *Structure, fields []byte, omitted []string) []byte {
	e := &encoder{b: make([]byte, 0, 512+len(fields))}
	flags := byte(0)
	switch {
	case st != nil:
		flags |= flagStructure
		if st.Truncated {
			flags |= flagTruncated
		}
	case s.Structure != nil || s.StructureOmitted:
		flags |= flagStructureOmitted
	}
	e.b = append(e.b, summaryVersion, flags)
	e.number(s.RawBytes)
	e.number(s.HeaderBytes)
	e.number(s.Lines)
	e.string(s.Preview)
	e.strings(omitted)
	e.string(string(fields))
	if st != nil {
		e.part(st.Root, 0)
	}
	return e.b
}

// UnmarshalSummary reads what Marshal wrote.
func UnmarshalSummary(b []byte) (*Summary, error) {
	if len(b) < 2 || b[0] != summaryVersion {
		return nil, errors.New("mime: summary of an unknown version")
	}
	flags := b[1]
	d := &decoder{b: b[2:]}
	s := &Summary{StructureOmitted: flags&flagStructureOmitted != 0}
	s.RawBytes, s.HeaderBytes, s.Lines = d.number(), d.number(), d.number()
	s.Preview = d.string()
	s.OmittedFields = d.strings()
	s.Fields = []byte(d.string())
	if flags&flagStructure != 0 {
		s.Structure = &Structure{Size: s.RawBytes, Lines: s.Lines, Truncated: flags&flagTruncated != 0}
		s.Structure.Root = d.part(0, 0)
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail("bytes after the end")
	}
	if d.err != nil {
		return nil, fmt.Errorf("mime: decode summary: %w", d.err)
	}
	return s, nil
}

// commonStrings have numbers of their own in version 1: never change, only append.
var commonStrings = []string{
	"text", "plain", "html", "multipart", "alternative", "mixed", "related", "signed", "report", "application", "octet-stream",
	"pdf", "image", "jpeg", "png", "gif", "message", "rfc822", "delivery-status", "charset", "utf-8", "us-ascii", "iso-8859-1",
	"boundary", "name", "filename", "format", "flowed", "type", "size", "7bit", "8bit", "binary", "quoted-printable", "base64",
	"attachment", "inline", "UTF-8", "calendar", "method", "REQUEST", "delsp", "yes", "text/html", "protocol", "micalg",
	"text/plain", "multipart/alternative",
}

var commonIndex = func() map[string]uint64 {
	m := make(map[string]uint64, len(commonStrings))
	for i, s := range commonStrings {
		m[s] = uint64(i)
	}
	return m
}()

type encoder struct{ b []byte }

func (e *encoder) number(n int64) { e.b = binary.AppendUvarint(e.b, uint64(max(n, 0))) }

func (e *encoder) string(s string) {
	if i, ok := commonIndex[s]; ok {
		e.b = binary.AppendUvarint(e.b, i<<1|1)
		return
	}
	e.b = binary.AppendUvarint(e.b, uint64(len(s))<<1)
	e.b = append(e.b, s...)
}

func (e *encoder) strings(list []string) {
	e.number(int64(len(list)))
	for _, s := range list {
		e.string(s)
	}
}

func (e *encoder) params(list []Param) {
	e.number(int64(len(list)))
	for _, p := range list {
		e.string(p.Name)
		e.string(p.Value)
	}
}

// What a part has beside type, encoding and offsets; rare things cost nothing where they are not.
const (
	partParams = 1 << iota
	partText   // ID, Description, MD5, Location
	partDisposition
	partLanguage
	partChildren
	partMessage
)

func (p *Part) has() byte {
	has := byte(0)
	set := func(bit byte, on bool) {
		if on {
			has |= bit
		}
	}
	set(partParams, len(p.Params) > 0)
	set(partText, p.ID != "" || p.Description != "" || p.MD5 != "" || p.Location != "")
	set(partDisposition, p.Disposition != "" || len(p.DispositionParams) > 0)
	set(partLanguage, len(p.Language) > 0)
	set(partChildren, len(p.Parts) > 0)
	set(partMessage, p.Message != nil)
	return has
}

func (e *encoder) part(p *Part, origin int64) {
	has := p.has()
	e.b = append(e.b, has)
	e.string(p.Type)
	e.string(p.Subtype)
	e.string(p.Encoding)
	e.number(p.HeaderStart - origin)
	e.number(p.BodyStart - p.HeaderStart)
	e.number(p.Size())
	e.number(p.Lines)
	if has&partParams != 0 {
		e.params(p.Params)
	}
	if has&partText != 0 {
		e.string(p.ID)
		e.string(p.Description)
		e.string(p.MD5)
		e.string(p.Location)
	}
	if has&partDisposition != 0 {
		e.string(p.Disposition)
		e.params(p.DispositionParams)
	}
	if has&partLanguage != 0 {
		e.strings(p.Language)
	}
	if has&partChildren != 0 {
		e.number(int64(len(p.Parts)))
		for _, c := range p.Parts {
			e.part(c, p.BodyStart)
		}
	}
	if has&partMessage != 0 {
		e.envelope(&p.Message.Envelope)
		e.part(p.Message.Root, p.BodyStart)
	}
}

// envelope writes the present values and lists. Sender and Reply-To that are as From are not written twice.
func (e *encoder) envelope(v *Envelope) {
	for _, x := range [...]Value{v.Date, v.Subject, v.InReplyTo, v.MessageID} {
		if !x.Present {
			e.number(0)
			continue
		}
		e.number(1)
		e.string(x.Text)
	}
	e.addresses(v.From)
	for _, list := range [...][]Address{v.Sender, v.ReplyTo} {
		if sameAddresses(list, v.From) {
			e.number(0)
			continue
		}
		e.number(1)
		e.addresses(list)
	}
	e.addresses(v.To)
	e.addresses(v.Cc)
	e.addresses(v.Bcc)
}

func sameAddresses(a, b []Address) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func (e *encoder) addresses(list []Address) {
	e.number(int64(len(list)))
	for _, a := range list {
		e.number(int64(a.Kind))
		e.string(a.Name)
		e.string(a.Mailbox)
		e.string(a.Host)
	}
}
