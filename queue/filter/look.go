package filter

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/protocol/smtp"
)

// look is one look at one message.
type look struct {
	set     *RuleSet
	m       *Message
	explain bool
	matches []*Match // by rule, nil for none
	cut     bool
	scanner *scanner // made when it is needed
}

func newLook(s *RuleSet, m *Message, explain bool) *look {
	return &look{set: s, m: m, explain: explain, matches: make([]*Match, len(s.rules))}
}

// hit records that a rule matched; the first place counts.
func (l *look) hit(i int, where, excerpt string) {
	if l.matches[i] == nil {
		l.matches[i] = &Match{Rule: l.set.rules[i].Rule, Where: where, Excerpt: excerpt}
	}
}

// wants tells whether rule i applies and did not match so far.
func (l *look) wants(i int) bool { return l.matches[i] == nil && l.set.rules[i].applies(l.m.Direction) }

func (l *look) envelope() {
	e := envelopeOf(l.m)
	for i, c := range l.set.rules {
		if c.match == nil || !c.applies(l.m.Direction) {
			continue
		}
		if excerpt, ok := c.match(e); ok {
			l.hit(i, c.Field, excerpt)
		}
	}
}

// decided tells, once the envelope was looked at, whether the content can change nothing that matters: behind a rejection that counts, other
// rules could only add their names and fields.
func (l *look) decided() bool {
	pending := false
	for i, c := range l.set.rules {
		switch {
		case !c.applies(l.m.Direction):
		case c.needsContent() && c.Action == Allow:
			return false
		case c.needsContent():
			pending = true
		case l.matches[i] == nil:
		case c.action == Reject:
			return true
		case c.Action == Allow:
			return !pending
		}
	}
	return !pending
}

func (l *look) wantsContent() bool { return l.set.NeedsContent(l.m.Direction) }

// content looks at what rules ask for: the header, then the file names and texts of the parts.
func (l *look) content(ctx context.Context) error {
	c := &content{m: l.m}
	fields, parts := l.needs()
	if fields {
		h, err := c.header(ctx)
		if err != nil {
			return err
		}
		if err := l.header(ctx, h); err != nil {
			return err
		}
	}
	if parts {
		if err := l.parts(ctx, c); err != nil {
			return err
		}
	}
	l.cut = c.cut
	return nil
}

func (l *look) parts(ctx context.Context, c *content) error {
	st, err := c.structure(ctx)
	if err != nil {
		return err
	}
	numbers := partNumbers(st)
	if err := l.attachments(st, numbers); err != nil || !l.asks(aboutBody) {
		return err
	}
	return c.texts(ctx, st, func(p *mime.Part, text io.Reader) error {
		return l.scan(fmt.Sprintf("body, part %s (%s/%s)", numbers[p], p.Type, p.Subtype), text, aboutBody)
	})
}

func aboutBody(c *compiled) bool       { return c.Field == FieldBody }
func aboutAttachment(c *compiled) bool { return c.Field == FieldAttachment }
func aboutHeader(c *compiled) bool     { return c.header != "" || c.Field == FieldFrom }

// asks tells whether a rule that did not match so far is about something.
func (l *look) asks(about func(*compiled) bool) bool {
	for i, c := range l.set.rules {
		if about(c) && l.wants(i) {
			return true
		}
	}
	return false
}

func (l *look) needs() (fields, parts bool) {
	return l.asks(aboutHeader), l.asks(aboutBody) || l.asks(aboutAttachment)
}

// header looks at each field once for all rules. A header of very many fields may take longer than ctx lasts.
func (l *look) header(ctx context.Context, h mime.Header) error {
	for _, f := range h {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("look at the header: %w", err)
		}
		if f.Name == "" {
			continue
		}
		about := func(c *compiled) bool { return c.header == "*" || strings.EqualFold(c.header, f.Name) }
		value := mime.DecodeHeader(f.Value())
		for i, c := range l.set.rules {
			if c.exists && about(c) && l.wants(i) {
				l.hit(i, "header "+f.Name, printable(value))
			}
		}
		if err := l.scan("header "+f.Name, strings.NewReader(value), about); err != nil {
			return err
		}
		if strings.EqualFold(f.Name, "From") {
			l.from(f.Value())
		}
	}
	return nil
}

// from looks at the addresses of a From field.
func (l *look) from(value string) {
	for _, a := range mime.ParseAddressList(value) {
		domain, err := smtp.ParseDomain(a.Host)
		if err != nil || a.Kind != 0 {
			continue
		}
		address := canonicalOf(smtp.Address{Local: a.Mailbox, Domain: domain})
		for i, c := range l.set.rules {
			if c.Field == FieldFrom && l.wants(i) && c.from.matches(address) {
				l.hit(i, "header From", printable("<"+address.address.String()+">"))
			}
		}
	}
}

// attachments looks at the file names that parts suggest.
func (l *look) attachments(st *mime.Structure, numbers map[*mime.Part]string) (err error) {
	st.Walk(func(p *mime.Part) {
		if name := p.FileName(); name != "" && err == nil {
			err = l.scan("attachment, part "+numbers[p], strings.NewReader(name), aboutAttachment)
		}
	})
	return err
}

// scan looks for keywords in one text. Its errors are those of the text.
func (l *look) scan(where string, text io.Reader, about func(*compiled) bool) error {
	if !l.asks(func(c *compiled) bool { return c.hasKeyword() && about(c) }) {
		return nil
	}
	if l.scanner == nil {
		l.scanner = newScanner(l.set.dict, l.explain)
	}
	l.scanner.begin(
		func(k int) bool { i := l.set.owner[k]; return about(l.set.rules[i]) && l.wants(i) },
		func(k int, excerpt string) { l.hit(l.set.owner[k], where, excerpt) })
	if _, err := io.Copy(l.scanner, text); err != nil {
		return fmt.Errorf("read %s: %w", where, err)
	}
	l.scanner.end()
	return nil
}

// partNumbers gives each part the number by which IMAP names it (RFC 9051 §6.4.5).
func partNumbers(st *mime.Structure) map[*mime.Part]string {
	numbers := map[*mime.Part]string{}
	var number func(p *mime.Part, prefix string)
	number = func(p *mime.Part, prefix string) {
		numbers[p] = prefix
		for i, child := range p.Parts {
			number(child, strings.TrimPrefix(prefix+"."+strconv.Itoa(i+1), "."))
		}
		if p.Message == nil {
			return
		}
		if root := p.Message.Root; root.IsMultipart() {
			number(root, prefix)
		} else {
			number(root, prefix+".1")
		}
	}
	if st.Root.IsMultipart() {
		number(st.Root, "")
	} else {
		number(st.Root, "1")
	}
	return numbers
}

// verdict is what the matches up to the first rule that allows make together.
func (l *look) verdict() Verdict {
	var v Verdict
	for i, match := range l.matches {
		if match == nil {
			continue
		}
		match.Counts = true
		v.add(l.set.rules[i])
		if v.Final {
			break
		}
	}
	return v
}

// add applies a rule that matched.
func (v *Verdict) add(c *compiled) {
	next := Verdict{Action: c.action, Final: c.Action == Allow, Rules: []string{c.ID}}
	switch c.action {
	case Tag:
		// The id is of letters, digits and a few marks: nothing of it can end the field.
		next.Headers = []string{"X-Quorumail-Policy: tag; rule=" + c.ID + "\r\n"}
	case Reject, Tempfail:
		next.Reply = c.Reply
	}
	v.merge(next)
}

func (l *look) explanation() Explanation {
	e := Explanation{Verdict: l.verdict(), Truncated: l.cut}
	for _, match := range l.matches {
		if match != nil {
			e.Matches = append(e.Matches, *match)
		}
	}
	return e
}
