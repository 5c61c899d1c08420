package imapd

import (
	"context"
	"fmt"
	"io"

	"github.com/quorumail/quorumail/protocol/mime"
)

// searchText looks for a text in the message's text parts and the headers of nested messages, and with headers also in the message's own
// header and those of its parts (RFC 9051 §6.4.4, BODY and TEXT).
func (m *message) searchText(ctx context.Context, text string, headers bool) (bool, error) {
	if headers {
		raw, err := m.header(ctx)
		if err != nil || headerContains(raw, text) {
			return err == nil, err
		}
	}
	st, err := m.structure(ctx)
	if err != nil {
		return false, err
	}
	for _, span := range headerSpans(st, headers) {
		raw, err := m.read(ctx, span)
		if err != nil || headerContains(raw, text) {
			return err == nil, err
		}
	}
	for _, p := range st.TextParts() {
		ok, err := m.searchPart(ctx, p, text)
		if ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// headerSpans are the headers below the message's own: of nested messages, or of all parts.
func headerSpans(st *mime.Structure, all bool) []mime.Span {
	var spans []mime.Span
	nested := map[*mime.Part]bool{}
	st.Walk(func(p *mime.Part) {
		if p.Message != nil {
			nested[p.Message.Root] = true
		}
		if p != st.Root && (all || nested[p]) && p.BodyStart > p.HeaderStart {
			spans = append(spans, mime.Span{Start: p.HeaderStart, End: p.BodyStart})
		}
	})
	return spans
}

// searchPart looks through one part as far as it must.
func (m *message) searchPart(ctx context.Context, p *mime.Part, text string) (bool, error) {
	r, err := m.open(ctx, p.BodyStart, p.End)
	if err != nil {
		return false, err
	}
	matcher := mime.NewMatcher(text)
	decoded := mime.DecodePart(p, r)
	buf := make([]byte, 16<<10)
	for !matcher.Matched() {
		n, err := decoded.Read(buf)
		_, _ = matcher.Write(buf[:n]) // never fails
		if err == io.EOF {
			return matcher.Matched(), nil
		}
		if err != nil {
			return false, fmt.Errorf("search %s: %w", m.id(), err)
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
	return true, nil
}
