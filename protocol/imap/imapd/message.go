package imapd

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/store"
)

// maxFilterBytes bounds the header that HEADER.FIELDS is cut from when the summary does not have the fields. Fields beyond are not found.
const maxFilterBytes = 256 << 10

// message opens what a command needs of one message, no sooner than it needs it. Close it.
type message struct {
	*item
	store   Store
	summary *mime.Summary
	body    BodyReader
	parsed  *mime.Summary // of the whole body, where the stored summary does not suffice
}

func newMessage(st Store, it *item) *message { return &message{item: it, store: st} }

func (m *message) close() {
	if m.body != nil {
		_ = m.body.Close() // it was only read
	}
}

// stored is the summary made when the message came; one that cannot be read is made anew from the body.
func (m *message) stored(ctx context.Context) (*mime.Summary, error) {
	if m.summary != nil {
		return m.summary, nil
	}
	sum, err := mime.UnmarshalSummary(m.email.GetSummary())
	if err != nil || sum.RawBytes != m.email.GetRawBytes() {
		return m.parse(ctx)
	}
	m.summary = sum
	return sum, nil
}

// parse reads the whole body once.
func (m *message) parse(ctx context.Context) (*mime.Summary, error) {
	if m.parsed != nil {
		return m.parsed, nil
	}
	r, err := m.open(ctx, 0, m.size())
	if err != nil {
		return nil, err
	}
	if m.parsed, err = mime.Summarize(r); err != nil {
		return nil, fmt.Errorf("parse %s: %w", m.id(), err)
	}
	if m.summary == nil {
		m.summary = m.parsed
	}
	return m.parsed, nil
}

func (m *message) id() store.EmailID { return store.EmailID(m.entry.GetEmail()) }

func (m *message) size() int64 { return m.email.GetRawBytes() }

// structure is the message's MIME structure.
func (m *message) structure(ctx context.Context) (*mime.Structure, error) {
	sum, err := m.stored(ctx)
	if err == nil && sum.Structure == nil {
		sum, err = m.parse(ctx)
	}
	if err != nil {
		return nil, err
	}
	if sum.Structure == nil {
		return nil, fmt.Errorf("structure of %s: none was found", m.id())
	}
	return sum.Structure, nil
}

// open reads a range of the body; what lies beyond its end is cut.
func (m *message) open(ctx context.Context, start, end int64) (*io.SectionReader, error) {
	if m.body == nil {
		id, err := store.BodyIDFromBytes(m.email.GetBodyId())
		if err != nil {
			return nil, err
		}
		if m.body, err = m.store.OpenBody(ctx, id); err != nil {
			return nil, fmt.Errorf("open the body of %s: %w", m.id(), err)
		}
	}
	end = min(end, m.body.Size())
	start = min(start, end)
	return io.NewSectionReader(m.body, start, end-start), nil
}

// header is the beginning of the message's header.
func (m *message) header(ctx context.Context) ([]byte, error) {
	sum, err := m.stored(ctx)
	if err != nil {
		return nil, err
	}
	return m.read(ctx, mime.Span{End: sum.HeaderBytes})
}

// read reads a header into memory, as much as is looked at of one.
func (m *message) read(ctx context.Context, span mime.Span) ([]byte, error) {
	r, err := m.open(ctx, span.Start, min(span.End, span.Start+maxFilterBytes))
	if err != nil {
		return nil, err
	}
	b := make([]byte, r.Size())
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read the header of %s: %w", m.id(), err)
	}
	return b, nil
}

// envelope: from the summary, or from the header where a field was too large for that.
func (m *message) envelope(ctx context.Context) (*mime.Envelope, error) {
	sum, err := m.stored(ctx)
	if err != nil {
		return nil, err
	}
	if env, known := sum.Envelope(); known {
		return env, nil
	}
	header, err := m.header(ctx)
	if err != nil {
		return nil, err
	}
	env := mime.ParseEnvelope(header)
	return &env, nil
}

// fieldValues are the unfolded values of a header field.
func (m *message) fieldValues(ctx context.Context, name string) ([]string, error) {
	sum, err := m.stored(ctx)
	if err != nil {
		return nil, err
	}
	if values, known := sum.FieldValues(name); known {
		return values, nil
	}
	header, err := m.header(ctx)
	if err != nil {
		return nil, err
	}
	return mime.ParseHeader(header).Values(name), nil
}

// internalDate is the entry's date in the zone that it was given in.
func (it *item) internalDate() time.Time {
	zone := time.FixedZone("", int(it.entry.GetInternalDateZone())*60)
	return time.Unix(it.entry.GetInternalDateUnix(), 0).In(zone)
}

// saveDate is when the message came into its mailbox (RFC 8514); zero: not known.
func (it *item) saveDate() time.Time {
	if it.entry.GetSaveDateUnixMs() == 0 {
		return time.Time{}
	}
	return time.UnixMilli(it.entry.GetSaveDateUnixMs()).UTC()
}
