package imap

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/quorumail/quorumail/protocol/mime"
)

// FetchWriter writes one FETCH response, item by item (RFC 9051 §7.5.2). End must be called.
type FetchWriter struct{ w *Writer }

// Fetch starts the FETCH response for the message with the given sequence number.
func (w *Writer) Fetch(seq uint32) *FetchWriter {
	w.Atom("*")
	w.Uint(uint64(seq))
	w.Atom("FETCH")
	w.Open()
	return &FetchWriter{w}
}

// End ends the response.
func (f *FetchWriter) End() {
	f.w.Close()
	f.w.CRLF()
}

// UID writes the UID item.
func (f *FetchWriter) UID(uid uint32) {
	f.w.Atom("UID")
	f.w.Uint(uint64(uid))
}

// Flags writes the FLAGS item.
func (f *FetchWriter) Flags(flags []Flag) {
	f.w.Atom("FLAGS")
	f.w.Flags(flags)
}

// InternalDate writes the INTERNALDATE item.
func (f *FetchWriter) InternalDate(t time.Time) {
	f.w.Atom("INTERNALDATE")
	f.w.DateTime(t)
}

// SaveDate writes the SAVEDATE item (RFC 8514 §4.2); the zero time is NIL.
func (f *FetchWriter) SaveDate(t time.Time) {
	f.w.Atom("SAVEDATE")
	if t.IsZero() {
		f.w.Atom("NIL")
		return
	}
	f.w.DateTime(t)
}

// RFC822Size writes the RFC822.SIZE item, in bytes.
func (f *FetchWriter) RFC822Size(n int64) {
	f.w.Atom("RFC822.SIZE")
	f.w.Uint(uint64(max(n, 0)))
}

// ModSeq writes the MODSEQ item (RFC 7162 §3.1.4).
func (f *FetchWriter) ModSeq(n uint64) {
	f.w.Atom("MODSEQ")
	f.w.Open()
	f.w.Uint(n)
	f.w.Close()
}

// EmailID writes the EMAILID item (RFC 8474 §5.1).
func (f *FetchWriter) EmailID(id string) {
	f.w.Atom("EMAILID")
	f.w.Open()
	f.w.Atom(id)
	f.w.Close()
}

// ThreadID writes the THREADID item (RFC 8474 §5.2); "" is NIL.
func (f *FetchWriter) ThreadID(id string) {
	f.w.Atom("THREADID")
	if id == "" {
		f.w.Atom("NIL")
		return
	}
	f.w.Open()
	f.w.Atom(id)
	f.w.Close()
}

// Preview writes the PREVIEW item (RFC 8970 §4): text is UTF-8; not known is NIL.
func (f *FetchWriter) Preview(text string, known bool) {
	f.w.Atom("PREVIEW")
	f.w.NString(text, known)
}

// Envelope writes the ENVELOPE item.
func (f *FetchWriter) Envelope(e *mime.Envelope) {
	f.w.Atom("ENVELOPE")
	f.w.envelope(e)
}

// Body writes the BODY item: the structure without extension data. root is the message's root part.
func (f *FetchWriter) Body(root *mime.Part) {
	f.w.Atom("BODY")
	f.w.body(root, false)
}

// BodyStructure writes the BODYSTRUCTURE item.
func (f *FetchWriter) BodyStructure(root *mime.Part) {
	f.w.Atom("BODYSTRUCTURE")
	f.w.body(root, true)
}

// Section writes the item of a BODY[...] section: size bytes of r, already cut to the partial range (Section.Cut).
func (f *FetchWriter) Section(s *Section, size int64, r io.Reader) error {
	f.sectionName("BODY", s)
	return f.w.Literal(size, r)
}

// SectionNil writes NIL for a section that the message does not have.
func (f *FetchWriter) SectionNil(s *Section) {
	f.sectionName("BODY", s)
	f.w.Atom("NIL")
}

// Binary writes the item of a BINARY[...] section as literal8 (RFC 3516 §4.2).
func (f *FetchWriter) Binary(s *Section, size int64, r io.Reader) error {
	f.sectionName("BINARY", s)
	return f.w.literal8(size, r)
}

// BinarySize writes the item BINARY.SIZE[...] (RFC 3516 §4.2).
func (f *FetchWriter) BinarySize(s *Section, n int64) {
	f.sectionName("BINARY.SIZE", s)
	f.w.Uint(uint64(max(n, 0)))
}

// sectionName writes the item's name; header field names may need a literal, which splits it.
func (f *FetchWriter) sectionName(item string, s *Section) {
	w := f.w
	if s.Legacy != "" {
		w.Atom(s.Legacy)
		return
	}
	w.Atom(item + "[" + s.specText())
	if len(s.Fields) > 0 {
		w.Open()
		for _, name := range s.Fields {
			w.AString(name)
		}
		w.Close()
	}
	w.raw("]")
	if s.HasPartial { // RFC 9051 §7.5.2: the origin alone
		w.raw("<" + strconv.FormatInt(s.Offset, 10) + ">")
	}
}

var specNames = map[mime.Specifier]string{
	mime.SpecHeader: "HEADER", mime.SpecHeaderFields: "HEADER.FIELDS", mime.SpecHeaderFieldsNot: "HEADER.FIELDS.NOT",
	mime.SpecText: "TEXT", mime.SpecMIME: "MIME",
}

func (s *Section) specText() string {
	words := make([]string, 0, len(s.Path)+1)
	for _, n := range s.Path {
		words = append(words, strconv.Itoa(n))
	}
	if name := specNames[s.Spec]; name != "" {
		words = append(words, name)
	}
	return strings.Join(words, ".")
}

// Cut returns the part of span that the partial range <offset.count> leaves; all of it without one. A range that
// starts beyond the end is empty (RFC 9051 §6.4.5).
func (s *Section) Cut(span mime.Span) mime.Span {
	if !s.HasPartial {
		return span
	}
	start := span.Start + min(max(s.Offset, 0), span.Len())
	return mime.Span{Start: start, End: start + min(max(s.Count, 0), span.End-start)}
}
