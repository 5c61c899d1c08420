package imap

import (
	"strings"
	"unicode/utf8"

	"github.com/quorumail/quorumail/protocol/mime"
)

// search: RFC 9051 §6.4.4: [RETURN (...)] [CHARSET x] keys.
func (p *parser) search() any {
	args := &SearchArgs{}
	p.sp()
	if p.skipWord("RETURN") {
		p.searchReturn(args)
		p.sp()
	}
	if p.skipWord("CHARSET") {
		if p.utf8 { // RFC 6855 §3: all strings are UTF-8 by then
			p.fail("no CHARSET after UTF8=ACCEPT")
		}
		p.sp()
		args.Charset = strings.ToUpper(p.astring())
		p.checkCharset(args.Charset)
		p.sp()
	}
	p.searchProgram(args)
	return args
}

// skipWord reads the given word if it comes next, up to a blank or the end.
func (p *parser) skipWord(word string) bool {
	start := p.i
	if got := p.word(); got == word && (p.atEnd() || p.b[p.i] == ' ') {
		return true
	}
	p.i = start
	return false
}

func (p *parser) searchReturn(args *SearchArgs) {
	args.Extended = true
	p.sp()
	seen := make(map[SearchReturn]bool)
	p.list(func() {
		switch opt := SearchReturn(p.keyword()); opt {
		case ReturnMin, ReturnMax, ReturnAll, ReturnCount, ReturnSave:
			if !seen[opt] {
				seen[opt] = true
				args.Return = append(args.Return, opt)
			}
		default:
			p.fail("unknown SEARCH return option")
		}
	})
	if len(args.Return) == 0 { // RFC 9051 §6.4.4: an empty list means ALL
		args.Return = []SearchReturn{ReturnAll}
	}
}

func (p *parser) checkCharset(name string) {
	if p.err == nil && !mime.KnownCharset(name) {
		p.fail("unknown charset")
		p.refusal = &RefusedError{Code: CodeBadCharset("UTF-8", "US-ASCII"), Text: "Unknown charset"}
	}
}

// searchProgram reads the keys: several mean that all must hold.
func (p *parser) searchProgram(args *SearchArgs) {
	s := &searchParser{parser: p, charset: args.Charset}
	keys := s.keys()
	args.Key = andKey(keys)
}

func andKey(keys []SearchKey) SearchKey {
	if len(keys) == 1 {
		return keys[0]
	}
	return SearchKey{Op: SearchAnd, Keys: keys}
}

type searchParser struct {
	*parser
	charset string
}

func (p *searchParser) keys() []SearchKey {
	keys := []SearchKey{p.key()}
	for p.accept(' ') {
		if p.atEnd() { // a blank at the end of the line
			break
		}
		keys = append(keys, p.key())
	}
	return keys
}

func flagKey(f Flag) SearchKey { return SearchKey{Op: SearchFlag, Flag: f} }

func notKey(k SearchKey) SearchKey { return SearchKey{Op: SearchNot, Keys: []SearchKey{k}} }

// searchWords are the keys without arguments (RFC 9051 §6.4.4; NEW, OLD, RECENT: RFC 3501 §6.4.4).
var searchWords = map[string]SearchKey{
	"ALL":               {Op: SearchAll},
	"ANSWERED":          flagKey(FlagAnswered),
	"DELETED":           flagKey(FlagDeleted),
	"DRAFT":             flagKey(FlagDraft),
	"FLAGGED":           flagKey(FlagFlagged),
	"SEEN":              flagKey(FlagSeen),
	"RECENT":            flagKey(FlagRecent),
	"UNANSWERED":        notKey(flagKey(FlagAnswered)),
	"UNDELETED":         notKey(flagKey(FlagDeleted)),
	"UNDRAFT":           notKey(flagKey(FlagDraft)),
	"UNFLAGGED":         notKey(flagKey(FlagFlagged)),
	"UNSEEN":            notKey(flagKey(FlagSeen)),
	"NEW":               {Op: SearchAnd, Keys: []SearchKey{flagKey(FlagRecent), notKey(flagKey(FlagSeen))}},
	"OLD":               notKey(flagKey(FlagRecent)),
	"SAVEDATESUPPORTED": {Op: SearchSaveDateSupported},
}

var searchHeaders = map[string]string{"BCC": "Bcc", "CC": "Cc", "FROM": "From", "SUBJECT": "Subject", "TO": "To"}

var searchTexts = map[string]SearchOp{"BODY": SearchBody, "TEXT": SearchText, "EMAILID": SearchEmailID, "THREADID": SearchThreadID}

var searchDates = map[string]SearchOp{
	"BEFORE": SearchBefore, "ON": SearchOn, "SINCE": SearchSince,
	"SENTBEFORE": SearchSentBefore, "SENTON": SearchSentOn, "SENTSINCE": SearchSentSince,
	"SAVEDBEFORE": SearchSaveBefore, "SAVEDON": SearchSaveOn, "SAVEDSINCE": SearchSaveSince,
}

var searchNumbers = map[string]SearchOp{
	"LARGER": SearchLarger, "SMALLER": SearchSmaller, "OLDER": SearchOlder, "YOUNGER": SearchYounger,
}

// key reads one search-key.
func (p *searchParser) key() SearchKey {
	switch c := p.peek(); {
	case c == '(':
		return p.group()
	case c == '*' || c == '$' || isDigit(c):
		return SearchKey{Op: SearchSeqSet, Set: p.numSet()}
	}
	word := p.keyword()
	if k, ok := searchWords[word]; ok {
		return k
	}
	if name, ok := searchHeaders[word]; ok {
		return SearchKey{Op: SearchHeader, Header: name, Text: p.textArgument()}
	}
	if op, ok := searchTexts[word]; ok {
		return SearchKey{Op: op, Text: p.textArgument()}
	}
	if op, ok := searchDates[word]; ok {
		p.sp()
		return SearchKey{Op: op, Date: p.date()}
	}
	if op, ok := searchNumbers[word]; ok {
		p.sp()
		return SearchKey{Op: op, Number: p.number64()}
	}
	return p.otherKey(word)
}

func (p *searchParser) otherKey(word string) SearchKey {
	switch word {
	case "NOT":
		return SearchKey{Op: SearchNot, Keys: []SearchKey{p.nested()}}
	case "OR":
		return SearchKey{Op: SearchOr, Keys: []SearchKey{p.nested(), p.nested()}}
	case "UID":
		p.sp()
		return SearchKey{Op: SearchUIDSet, Set: p.numSet()}
	case "KEYWORD":
		return flagKey(p.keywordArgument())
	case "UNKEYWORD":
		return notKey(flagKey(p.keywordArgument()))
	case "HEADER":
		p.sp()
		name := p.astring()
		return SearchKey{Op: SearchHeader, Header: name, Text: p.textArgument()}
	case "MODSEQ":
		return p.modSeqKey()
	case "CHARSET", "RETURN":
		p.fail(word + " must come first")
	default:
		p.fail("unknown search key")
	}
	return SearchKey{}
}

// group reads "(" key *(SP key) ")".
func (p *searchParser) group() SearchKey {
	p.open()
	keys := []SearchKey{p.key()}
	for p.accept(' ') {
		keys = append(keys, p.key())
	}
	p.close()
	return andKey(keys)
}

// nested reads a key that is the argument of NOT or OR; these nest without parentheses, and count as depth all the same.
func (p *searchParser) nested() SearchKey {
	p.sp()
	if p.depth++; p.depth > p.maxDepth {
		p.fail("too deeply nested")
		return SearchKey{}
	}
	k := p.key()
	p.depth--
	return k
}

func (p *searchParser) keywordArgument() Flag {
	p.sp()
	f := p.flag()
	return f
}

// modSeqKey: ["entry name" SP entry-type SP] value (RFC 7162 §3.1.5); the entry is accepted and makes no difference.
func (p *searchParser) modSeqKey() SearchKey {
	p.sp()
	if p.peek() == '"' {
		p.quoted()
		p.sp()
		switch p.keyword() {
		case "PRIV", "SHARED", "ALL":
		default:
			p.fail("bad MODSEQ entry type")
		}
		p.sp()
	}
	return SearchKey{Op: SearchModSeq, Number: p.number64()}
}

// textArgument reads a string in the charset of the search, and returns it in UTF-8.
func (p *searchParser) textArgument() string {
	p.sp()
	s := p.astring()
	if p.err != nil {
		return ""
	}
	switch p.charset {
	case "", "UTF-8", "US-ASCII":
		if !utf8.ValidString(s) {
			p.fail("text is not UTF-8")
			p.refusal = &RefusedError{Code: CodeBadCharset("UTF-8", "US-ASCII"), Text: "Text is not UTF-8"}
		}
		return s
	}
	return mime.DecodeCharset(p.charset, []byte(s))
}
