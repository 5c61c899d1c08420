package imap

import "strings"

// oneMailbox: DELETE, SUBSCRIBE, UNSUBSCRIBE (RFC 9051 §6.3), GETQUOTAROOT (RFC 9208 §4.1.2).
func (p *parser) oneMailbox() any {
	p.sp()
	return &MailboxArgs{Mailbox: p.mailbox()}
}

// quota: RFC 9208 §4.1.1.
func (p *parser) quota() any {
	p.sp()
	return &QuotaArgs{Root: p.astring()}
}

// rename: RFC 9051 §6.3.6.
func (p *parser) rename() any {
	args := &RenameArgs{}
	p.sp()
	args.From = p.mailbox()
	p.sp()
	args.To = p.mailbox()
	return args
}

// create: RFC 9051 §6.3.4; USE of RFC 6154 §3 in the form of RFC 4466 §2.2.
func (p *parser) create() any {
	p.sp()
	args := &CreateArgs{Mailbox: p.mailbox()}
	if !p.accept(' ') {
		return args
	}
	p.list(func() {
		if p.keyword() != "USE" {
			p.fail("unknown CREATE parameter")
			return
		}
		p.sp()
		p.list(func() { args.SpecialUse = append(args.SpecialUse, p.attr()) })
	})
	return args
}

// knownAttrs lets attributes be compared by their constants.
var knownAttrs = [...]MailboxAttr{AttrAll, AttrArchive, AttrDrafts, AttrFlagged, AttrImportant, AttrJunk, AttrSent, AttrTrash}

func (p *parser) attr() MailboxAttr {
	p.expect('\\')
	a := MailboxAttr(`\` + p.atom())
	for _, k := range knownAttrs {
		if strings.EqualFold(string(k), string(a)) {
			return k
		}
	}
	return a
}

// selectMailbox: SELECT and EXAMINE (RFC 9051 §6.3.2) with CONDSTORE and QRESYNC (RFC 7162 §3.1.8, §3.2.5).
func (p *parser) selectMailbox() any {
	p.sp()
	args := &SelectArgs{Mailbox: p.mailbox()}
	if !p.accept(' ') {
		return args
	}
	p.list(func() {
		switch p.keyword() {
		case "CONDSTORE":
			args.CondStore = true
		case "QRESYNC":
			p.sp()
			args.QResync = p.qresync()
		default:
			p.fail("unknown SELECT parameter")
		}
	})
	return args
}

// qresync: "(" uidvalidity SP mod-sequence [SP known-uids] [SP "(" known-sequences SP known-uids ")"] ")".
func (p *parser) qresync() *QResync {
	q := &QResync{}
	p.open()
	q.UIDValidity = p.number32()
	p.sp()
	q.ModSeq = p.number64()
	if p.accept(' ') {
		if p.peek() != '(' {
			q.Known = p.numSet()
			if p.accept(' ') {
				p.qresyncMatch(q)
			}
		} else {
			p.qresyncMatch(q)
		}
	}
	p.close()
	if q.UIDValidity == 0 || q.ModSeq == 0 || q.Known.Dynamic() || q.MatchSeqs.Dynamic() || q.MatchUIDs.Dynamic() {
		p.fail("bad QRESYNC parameter")
	}
	return q
}

func (p *parser) qresyncMatch(q *QResync) {
	p.open()
	q.MatchSeqs = p.numSet()
	p.sp()
	q.MatchUIDs = p.numSet()
	p.close()
}

// lsub: RFC 3501 §6.3.9.
func (p *parser) lsub() any {
	args := &ListArgs{}
	p.sp()
	args.Reference = p.referenceName()
	p.sp()
	args.Patterns = []string{p.listMailbox()}
	return args
}

// referenceName reads LIST's reference: a mailbox name, or a prefix of one, often empty.
func (p *parser) referenceName() string {
	if p.peek() == '"' || p.peek() == '{' {
		return p.mailboxName(p.str())
	}
	return p.listMailbox()
}

// listMailboxes: LIST of RFC 9051 §6.3.9 and RFC 5258.
func (p *parser) listMailboxes() any {
	args := &ListArgs{}
	p.sp()
	if p.peek() == '(' {
		args.Extended = true
		p.list(func() { p.listSelectOption(args) })
		p.sp()
	}
	args.Reference = p.referenceName()
	p.sp()
	if p.peek() == '(' {
		args.Extended = true
		p.list(func() { args.Patterns = append(args.Patterns, p.listMailbox()) })
		if len(args.Patterns) == 0 {
			p.fail("mailbox pattern expected")
		}
	} else {
		args.Patterns = []string{p.listMailbox()}
	}
	if p.accept(' ') {
		args.Extended = true
		if p.keyword() != "RETURN" {
			p.fail("RETURN expected")
		}
		p.sp()
		p.list(func() { p.listReturnOption(args) })
	}
	// RFC 5258 §3.1: RECURSIVEMATCH only modifies another option.
	if args.SelectRecursiveMatch && !args.SelectSubscribed && !args.SelectSpecialUse {
		p.fail("RECURSIVEMATCH needs another selection option")
	}
	return args
}

func (p *parser) listSelectOption(args *ListArgs) {
	switch p.keyword() {
	case "SUBSCRIBED":
		args.SelectSubscribed = true
	case "REMOTE":
		args.SelectRemote = true
	case "RECURSIVEMATCH":
		args.SelectRecursiveMatch = true
	case "SPECIAL-USE":
		args.SelectSpecialUse = true
	default:
		p.fail("unknown LIST selection option")
	}
}

func (p *parser) listReturnOption(args *ListArgs) {
	switch p.keyword() {
	case "SUBSCRIBED":
		args.ReturnSubscribed = true
	case "CHILDREN":
		args.ReturnChildren = true
	case "SPECIAL-USE":
		args.ReturnSpecialUse = true
	case "STATUS": // RFC 5819
		p.sp()
		args.ReturnStatus = p.statusItems()
	default:
		p.fail("unknown LIST return option")
	}
}

// status: RFC 9051 §6.3.11.
func (p *parser) status() any {
	p.sp()
	args := &StatusArgs{Mailbox: p.mailbox()}
	p.sp()
	args.Items = p.statusItems()
	return args
}

var knownStatusItems = map[StatusItem]bool{
	StatusMessages: true, StatusRecent: true, StatusUIDNext: true, StatusUIDValidity: true, StatusUnseen: true,
	StatusDeleted: true, StatusSize: true, StatusHighestModSeq: true, StatusAppendLimit: true, StatusMailboxID: true,
	StatusDeletedStorage: true,
}

func (p *parser) statusItems() []StatusItem {
	items := []StatusItem{}
	seen := make(map[StatusItem]bool)
	p.list(func() {
		item := StatusItem(p.keyword())
		if !knownStatusItems[item] {
			p.fail("unknown STATUS item")
		} else if !seen[item] {
			seen[item] = true
			items = append(items, item)
		}
	})
	return items
}
