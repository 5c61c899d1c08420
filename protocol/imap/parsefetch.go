package imap

import (
	"strings"

	"github.com/quorumail/quorumail/protocol/mime"
)

// maxFetchItems bounds the data items of one FETCH.
const maxFetchItems = 256

// fetch: RFC 9051 §6.4.5, with the modifiers of RFC 7162 §3.1.4.1 and §3.2.6.
func (p *parser) fetch() any {
	args := &FetchArgs{}
	p.sp()
	args.Set = p.numSet()
	p.sp()
	if p.peek() == '(' {
		p.list(func() { p.fetchItem(args) })
	} else {
		p.fetchMacroOrItem(args)
	}
	if len(args.Items) == 0 {
		p.fail("FETCH items expected")
	}
	if p.accept(' ') {
		p.list(func() { p.fetchModifier(args) })
	}
	if args.Vanished && !args.HasChangedSince {
		p.fail("VANISHED needs CHANGEDSINCE") // RFC 7162 §3.2.6
	}
	return args
}

func (p *parser) fetchModifier(args *FetchArgs) {
	switch p.keyword() {
	case "CHANGEDSINCE":
		p.sp()
		args.ChangedSince, args.HasChangedSince = p.number64(), true
	case "VANISHED":
		args.Vanished = true
	default:
		p.fail("unknown FETCH modifier")
	}
}

// fetchMacros: RFC 9051 §6.4.5. A macro stands alone, never in a list.
var fetchMacros = map[string][]FetchKind{
	"ALL":  {FetchFlags, FetchInternalDate, FetchRFC822Size, FetchEnvelope},
	"FAST": {FetchFlags, FetchInternalDate, FetchRFC822Size},
	"FULL": {FetchFlags, FetchInternalDate, FetchRFC822Size, FetchEnvelope, FetchBody},
}

func (p *parser) fetchMacroOrItem(args *FetchArgs) {
	start := p.i
	if kinds := fetchMacros[p.word()]; kinds != nil {
		for _, k := range kinds {
			args.Items = append(args.Items, FetchItem{Kind: k})
		}
		return
	}
	p.i = start
	p.fetchItem(args)
}

var simpleFetchItems = map[string]FetchKind{
	"ENVELOPE": FetchEnvelope, "FLAGS": FetchFlags, "INTERNALDATE": FetchInternalDate, "RFC822.SIZE": FetchRFC822Size,
	"UID": FetchUID, "BODYSTRUCTURE": FetchBodyStructure, "MODSEQ": FetchModSeq, "EMAILID": FetchEmailID,
	"THREADID": FetchThreadID, "SAVEDATE": FetchSaveDate,
}

func (p *parser) fetchItem(args *FetchArgs) {
	name := p.word()
	if item := p.fetchItemNamed(name); p.err == nil {
		args.Items = append(args.Items, item)
	}
	if len(args.Items) > maxFetchItems {
		p.fail("too many FETCH items")
	}
}

func (p *parser) fetchItemNamed(name string) FetchItem {
	if k := simpleFetchItems[name]; k != 0 {
		return FetchItem{Kind: k}
	}
	switch name {
	case "BODY", "BODY.PEEK":
		if p.peek() != '[' && name == "BODY" {
			return FetchItem{Kind: FetchBody}
		}
		return FetchItem{Kind: FetchSection, Section: p.section(name == "BODY.PEEK")}
	case "BINARY", "BINARY.PEEK":
		return FetchItem{Kind: FetchBinary, Section: p.binarySection(name == "BINARY.PEEK", true)}
	case "BINARY.SIZE":
		return FetchItem{Kind: FetchBinarySize, Section: p.binarySection(true, false)}
	case "RFC822":
		return FetchItem{Kind: FetchSection, Section: &Section{Legacy: name}}
	case "RFC822.HEADER": // RFC 3501 §6.4.5: like BODY.PEEK[HEADER]
		return FetchItem{Kind: FetchSection, Section: &Section{Legacy: name, Spec: mime.SpecHeader, Peek: true}}
	case "RFC822.TEXT":
		return FetchItem{Kind: FetchSection, Section: &Section{Legacy: name, Spec: mime.SpecText}}
	case "PREVIEW":
		return FetchItem{Kind: FetchPreview, Lazy: p.previewModifier()}
	}
	p.fail("unknown FETCH item")
	return FetchItem{}
}

// previewModifier: RFC 8970 §3.2: PREVIEW may be followed by (LAZY). Any other list belongs to FETCH itself.
func (p *parser) previewModifier() (lazy bool) {
	const modifier = " (LAZY)"
	if p.err == nil && len(p.b)-p.i >= len(modifier) && strings.EqualFold(string(p.b[p.i:p.i+len(modifier)]), modifier) {
		p.i += len(modifier)
		return true
	}
	return false
}

// section: "[" [section-spec] "]" ["<" number "." nz-number ">"] (RFC 9051 §9).
func (p *parser) section(peek bool) *Section {
	s := &Section{Peek: peek}
	p.expect('[')
	named := p.sectionPath(s)
	if named {
		p.sectionText(s)
	}
	p.expect(']')
	p.partial(s)
	return s
}

func (p *parser) binarySection(peek, partial bool) *Section {
	s := &Section{Peek: peek}
	p.expect('[')
	if p.sectionPath(s) {
		p.fail("part number expected")
	}
	p.expect(']')
	if partial {
		p.partial(s)
	}
	return s
}

// maxSectionDepth is more than any part number that a parsed message can have.
const maxSectionDepth = 2 * mime.MaxDepth

// sectionPath reads part numbers and tells whether a section-text follows.
func (p *parser) sectionPath(s *Section) (text bool) {
	if p.peek() == ']' {
		return false
	}
	for isDigit(p.peek()) {
		n := p.number(31)
		if n == 0 || len(s.Path) == maxSectionDepth {
			p.fail("bad part number")
		}
		s.Path = append(s.Path, int(n))
		if !p.accept('.') {
			return false
		}
	}
	return true
}

func (p *parser) sectionText(s *Section) {
	switch p.word() {
	case "HEADER":
		s.Spec = mime.SpecHeader
	case "TEXT":
		s.Spec = mime.SpecText
	case "HEADER.FIELDS":
		s.Spec = mime.SpecHeaderFields
		p.headerNames(s)
	case "HEADER.FIELDS.NOT":
		s.Spec = mime.SpecHeaderFieldsNot
		p.headerNames(s)
	case "MIME":
		s.Spec = mime.SpecMIME
		if len(s.Path) == 0 { // RFC 9051 §6.4.5.1: MIME must follow a part number
			p.fail("MIME needs a part number")
		}
	default:
		p.fail("unknown section")
	}
}

func (p *parser) headerNames(s *Section) {
	p.sp()
	p.list(func() { s.Fields = append(s.Fields, p.astring()) })
	if len(s.Fields) == 0 {
		p.fail("header field names expected")
	}
}

func (p *parser) partial(s *Section) {
	if !p.accept('<') {
		return
	}
	s.HasPartial = true
	s.Offset = int64(p.number64())
	p.expect('.')
	s.Count = int64(p.number64())
	p.expect('>')
	if s.Count == 0 {
		p.fail("bad partial range")
	}
}
