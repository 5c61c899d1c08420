package imap

// commands has a function for each command that parses what follows its name and returns Args. A command family has a
// file of its own; an extension adds its lines here.
var commands = map[string]func(*parser) any{
	// RFC 9051 §6.1: in any state.
	"CAPABILITY": noArgs,
	"NOOP":       noArgs,
	"LOGOUT":     noArgs,
	"ID":         (*parser).id, // RFC 2971

	// RFC 9051 §6.2: not authenticated.
	"STARTTLS":       noArgs,
	"AUTHENTICATE":   (*parser).authenticate,
	"LOGIN":          (*parser).login,
	"UNAUTHENTICATE": noArgs, // RFC 8437
	"COMPRESS":       (*parser).compress,

	// RFC 9051 §6.3: authenticated.
	"ENABLE":       (*parser).enable,
	"SELECT":       (*parser).selectMailbox,
	"EXAMINE":      (*parser).selectMailbox,
	"CREATE":       (*parser).create,
	"DELETE":       (*parser).oneMailbox,
	"RENAME":       (*parser).rename,
	"SUBSCRIBE":    (*parser).oneMailbox,
	"UNSUBSCRIBE":  (*parser).oneMailbox,
	"LIST":         (*parser).listMailboxes,
	"LSUB":         (*parser).lsub, // RFC 3501 §6.3.9
	"NAMESPACE":    noArgs,
	"STATUS":       (*parser).status,
	"APPEND":       (*parser).append,
	"IDLE":         noArgs,
	"GETQUOTA":     (*parser).quota,      // RFC 9208
	"GETQUOTAROOT": (*parser).oneMailbox, // RFC 9208

	// RFC 9051 §6.4: selected.
	"CHECK":    noArgs, // RFC 3501 §6.4.1
	"CLOSE":    noArgs,
	"UNSELECT": noArgs,
	"EXPUNGE":  noArgs,
	"SEARCH":   (*parser).search,
	"FETCH":    (*parser).fetch,
	"STORE":    (*parser).store,
	"COPY":     (*parser).copyMessages,
	"MOVE":     (*parser).copyMessages,
	"SORT":     (*parser).sort,   // RFC 5256
	"THREAD":   (*parser).thread, // RFC 5256
}

// uidCommands are the commands that may follow UID (RFC 9051 §6.4.9).
var uidCommands = map[string]func(*parser) any{
	"SEARCH":  (*parser).search,
	"FETCH":   (*parser).fetch,
	"STORE":   (*parser).store,
	"COPY":    (*parser).copyMessages,
	"MOVE":    (*parser).copyMessages,
	"SORT":    (*parser).sort,
	"THREAD":  (*parser).thread,
	"EXPUNGE": (*parser).uidExpunge,
}

func noArgs(*parser) any { return nil }

// command parses the whole buffer. The command is returned even with p.err set, as far as it was read.
func (p *parser) command() *Command {
	cmd := &Command{Tag: p.tag()}
	if p.err != nil {
		cmd.Tag = "*"
		return cmd
	}
	p.sp()
	cmd.Name = p.keyword()
	table := commands
	if cmd.Name == "UID" {
		cmd.UID, table = true, uidCommands
		p.sp()
		cmd.Name = p.keyword()
	}
	if p.err != nil {
		return cmd
	}
	parse := table[cmd.Name]
	if parse == nil {
		p.fail("unknown command")
		cmd.Name = ""
		return cmd
	}
	cmd.Args = parse(p)
	p.end()
	return cmd
}

func (p *parser) commandError(cmd *Command) error {
	if p.refusal != nil {
		p.refusal.Tag, p.refusal.Name = cmd.Tag, cmd.Name
		return p.refusal
	}
	return &SyntaxError{Tag: cmd.Tag, Name: cmd.Name, Text: upperFirst(p.err.Error())}
}

func upperFirst(s string) string {
	if s != "" && 'a' <= s[0] && s[0] <= 'z' {
		return string(s[0]-0x20) + s[1:]
	}
	return s
}
