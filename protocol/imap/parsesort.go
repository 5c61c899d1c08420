package imap

import "strings"

var sortKeys = map[SortKey]bool{
	SortArrival: true, SortCc: true, SortDate: true, SortFrom: true, SortSize: true, SortSubject: true, SortTo: true,
	SortDisplayFrom: true, SortDisplayTo: true,
}

// sort: RFC 5256 §3: SORT [RETURN (...)] (criteria) charset keys; RETURN by RFC 5267 §3.1.
func (p *parser) sort() any {
	args := &SortArgs{}
	p.sp()
	if p.skipWord("RETURN") {
		p.searchReturn(&args.Search)
		p.sp()
	}
	p.list(func() {
		c := SortCriterion{Key: SortKey(p.keyword())}
		if c.Key == "REVERSE" {
			p.sp()
			c = SortCriterion{Key: SortKey(p.keyword()), Reverse: true}
		}
		if !sortKeys[c.Key] || len(args.Criteria) > 2*len(sortKeys) {
			p.fail("unknown sort key")
			return
		}
		args.Criteria = append(args.Criteria, c)
	})
	if len(args.Criteria) == 0 {
		p.fail("sort keys expected")
	}
	p.charsetAndKeys(&args.Search)
	return args
}

// thread: RFC 5256 §3: THREAD algorithm charset keys.
func (p *parser) thread() any {
	args := &ThreadArgs{}
	p.sp()
	args.Algorithm = p.keyword()
	p.charsetAndKeys(&args.Search)
	return args
}

func (p *parser) charsetAndKeys(args *SearchArgs) {
	p.sp()
	args.Charset = strings.ToUpper(p.astring())
	p.checkCharset(args.Charset)
	p.sp()
	p.searchProgram(args)
}
