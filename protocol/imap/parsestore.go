package imap

// store: RFC 9051 §6.4.6, with UNCHANGEDSINCE of RFC 7162 §3.1.3.
func (p *parser) store() any {
	args := &StoreArgs{}
	p.sp()
	args.Set = p.numSet()
	p.sp()
	if p.peek() == '(' {
		p.list(func() {
			if p.keyword() != "UNCHANGEDSINCE" || args.HasUnchangedSince { // RFC 7162 §7: only one of them
				p.fail("unknown STORE modifier")
				return
			}
			p.sp()
			args.UnchangedSince, args.HasUnchangedSince = p.number64(), true
		})
		p.sp()
	}
	switch {
	case p.accept('+'):
		args.Op = StoreAdd
	case p.accept('-'):
		args.Op = StoreRemove
	}
	switch p.word() {
	case "FLAGS":
	case "FLAGS.SILENT":
		args.Silent = true
	default:
		p.fail("unknown STORE item")
	}
	p.sp()
	if p.peek() == '(' {
		args.Flags = p.flagList()
		return args
	}
	args.Flags = []Flag{p.flag()}
	for p.accept(' ') {
		args.Flags = append(args.Flags, p.flag())
	}
	return args
}

// copyMessages: COPY and MOVE (RFC 9051 §6.4.7 and §6.4.8).
func (p *parser) copyMessages() any {
	args := &CopyArgs{}
	p.sp()
	args.Set = p.numSet()
	p.sp()
	args.Mailbox = p.mailbox()
	return args
}

// uidExpunge: RFC 9051 §6.4.9.
func (p *parser) uidExpunge() any {
	p.sp()
	return &ExpungeArgs{UIDs: p.numSet()}
}
