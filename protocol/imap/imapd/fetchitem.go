package imapd

import (
	"bytes"
	"context"
	"io"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/protocol/mime"
)

// writeItem writes one data item of a FETCH response. Whatever may fail was done before, but for the reading of the body.
type writeItem = func(*imap.FetchWriter) error

// prepare finds what the items need, so that a message that cannot be read is noticed before its response begins.
func (s *session) prepare(ctx context.Context, m *message, plan *fetchPlan) ([]writeItem, error) {
	out := make([]writeItem, 0, len(plan.items))
	for i := range plan.items {
		w, err := s.prepareItem(ctx, m, &plan.items[i])
		if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	return out, nil
}

// simply makes a writeItem of a method that cannot fail.
func simply(f func(*imap.FetchWriter)) writeItem {
	return func(w *imap.FetchWriter) error { f(w); return nil }
}

func (s *session) prepareItem(ctx context.Context, m *message, it *imap.FetchItem) (writeItem, error) {
	e := m.entry
	switch it.Kind {
	case imap.FetchUID:
		return simply(func(f *imap.FetchWriter) { f.UID(m.uid) }), nil
	case imap.FetchFlags:
		return simply(func(f *imap.FetchWriter) { f.Flags(s.sel.wireFlags(m.uid, e)) }), nil
	case imap.FetchInternalDate:
		return simply(func(f *imap.FetchWriter) { f.InternalDate(m.internalDate()) }), nil
	case imap.FetchRFC822Size:
		return simply(func(f *imap.FetchWriter) { f.RFC822Size(e.GetRawBytes()) }), nil
	case imap.FetchModSeq:
		return simply(func(f *imap.FetchWriter) { f.ModSeq(e.GetModseq()) }), nil
	case imap.FetchEmailID:
		return simply(func(f *imap.FetchWriter) { f.EmailID(m.id().String()) }), nil
	case imap.FetchThreadID:
		return simply(func(f *imap.FetchWriter) { f.ThreadID("") }), nil
	case imap.FetchSaveDate:
		return simply(func(f *imap.FetchWriter) { f.SaveDate(m.saveDate()) }), nil
	case imap.FetchEnvelope:
		env, err := m.envelope(ctx)
		return simply(func(f *imap.FetchWriter) { f.Envelope(env) }), err
	case imap.FetchPreview:
		sum, err := m.stored(ctx)
		return simply(func(f *imap.FetchWriter) { f.Preview(sum.Preview, true) }), err
	case imap.FetchBody, imap.FetchBodyStructure:
		st, err := m.structure(ctx)
		return simply(func(f *imap.FetchWriter) {
			if it.Kind == imap.FetchBody {
				f.Body(st.Root)
			} else {
				f.BodyStructure(st.Root)
			}
		}), err
	case imap.FetchSection:
		return m.section(ctx, it.Section)
	case imap.FetchBinary, imap.FetchBinarySize:
		return m.binary(ctx, it)
	}
	return nil, no(imap.CodeCannot, "Item not supported")
}

// section finds the bytes of BODY[...] (RFC 9051 §6.4.5.1).
func (m *message) section(ctx context.Context, sec *imap.Section) (writeItem, error) {
	if sec.Spec == mime.SpecHeaderFields && len(sec.Path) == 0 {
		sum, err := m.stored(ctx)
		if err != nil {
			return nil, err
		}
		if raw, known := sum.HeaderFields(sec.Fields); known {
			return sectionBytes(sec, raw), nil
		}
	}
	span, ok, err := m.span(ctx, sec)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return simply(func(f *imap.FetchWriter) { f.SectionNil(sec) }), nil
	case sec.Spec == mime.SpecHeaderFields || sec.Spec == mime.SpecHeaderFieldsNot:
		header, err := m.read(ctx, span)
		if err != nil {
			return nil, err
		}
		return sectionBytes(sec, mime.FilterFields(header, sec.Fields, sec.Spec == mime.SpecHeaderFieldsNot)), nil
	}
	cut := sec.Cut(span)
	r, err := m.open(ctx, cut.Start, cut.End)
	if err != nil {
		return nil, err
	}
	return func(f *imap.FetchWriter) error { return f.Section(sec, r.Size(), r) }, nil
}

// span is where a section lies in the message. The simple ones need no structure.
func (m *message) span(ctx context.Context, sec *imap.Section) (mime.Span, bool, error) {
	if len(sec.Path) == 0 {
		if sec.Spec == mime.SpecAll {
			return mime.Span{End: m.size()}, true, nil
		}
		sum, err := m.stored(ctx)
		if err != nil {
			return mime.Span{}, false, err
		}
		if sec.Spec == mime.SpecText {
			return mime.Span{Start: sum.HeaderBytes, End: m.size()}, true, nil
		}
		return mime.Span{End: sum.HeaderBytes}, true, nil
	}
	st, err := m.structure(ctx)
	if err != nil {
		return mime.Span{}, false, err
	}
	span, ok := st.Section(sec.Path, sec.Spec)
	return span, ok, nil
}

func sectionBytes(sec *imap.Section, raw []byte) writeItem {
	cut := sec.Cut(mime.Span{End: int64(len(raw))})
	return func(f *imap.FetchWriter) error {
		return f.Section(sec, cut.Len(), bytes.NewReader(raw[cut.Start:cut.End]))
	}
}

// binary is BINARY[...] and BINARY.SIZE[...] (RFC 3516 §4.2): the part without its transfer encoding. Its size must be known before
// it is sent, so it is decoded twice.
func (m *message) binary(ctx context.Context, it *imap.FetchItem) (writeItem, error) {
	sec := it.Section
	span, ok, err := m.span(ctx, sec)
	if err != nil {
		return nil, err
	}
	encoding := ""
	if len(sec.Path) > 0 {
		st, err := m.structure(ctx)
		if err != nil {
			return nil, err
		}
		if p := st.Find(sec.Path); p != nil {
			encoding = p.Encoding
			ok = ok && !p.IsMultipart()
		}
	}
	if !ok {
		return nil, no(imap.CodeUnknownCTE, "No such part, or not one part")
	}
	if !knownEncodings[encoding] {
		return nil, no(imap.CodeUnknownCTE, "Unknown transfer encoding")
	}
	r, err := m.open(ctx, span.Start, span.End)
	if err != nil {
		return nil, err
	}
	size, err := io.Copy(io.Discard, mime.DecodeTransfer(encoding, r))
	if err != nil {
		return nil, err
	}
	if it.Kind == imap.FetchBinarySize {
		return simply(func(f *imap.FetchWriter) { f.BinarySize(sec, size) }), nil
	}
	cut := sec.Cut(mime.Span{End: size})
	return func(f *imap.FetchWriter) error {
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			return err
		}
		decoded := mime.DecodeTransfer(encoding, r)
		if _, err := io.CopyN(io.Discard, decoded, cut.Start); err != nil {
			return err
		}
		return f.Binary(sec, cut.Len(), decoded)
	}, nil
}

// knownEncodings are those of RFC 2045 §6.1; "" is the message as a whole.
var knownEncodings = map[string]bool{"": true, "7bit": true, "8bit": true, "binary": true, "base64": true, "quoted-printable": true}
