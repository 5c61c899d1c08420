package imapd

import (
	"context"
	"errors"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store/replica"
)

// stateSet names states of a session (RFC 9051 §3).
type stateSet uint8

const (
	notAuthenticated stateSet = 1 << iota
	authenticated             // no mailbox is selected
	isSelected
	anyState   = notAuthenticated | authenticated | isSelected
	afterLogin = authenticated | isSelected
)

// updates says what a command may tell of other clients' changes before its tagged answer.
type updates uint8

const (
	updatesAll       updates = iota
	updatesNoExpunge         // RFC 9051 §7.5.1: no EXPUNGE while responding to FETCH, STORE or SEARCH; with UID it may be
	updatesNone              // the command does it itself, or the selected mailbox has just changed
)

// command is a row of the table of commands.
type command struct {
	in      stateSet
	run     func(*session, context.Context, *imap.Command) (answer, error)
	updates updates
	writes  bool // in the selected mailbox, which must not be read-only
}

// commands is what this server answers. An extension adds its rows here and a file of its own.
var commands = map[string]command{
	"CAPABILITY": {in: anyState, run: (*session).capability},
	"NOOP":       {in: anyState, run: (*session).noop, updates: updatesAll},
	"LOGOUT":     {in: anyState, run: (*session).logout, updates: updatesNone},
	"ID":         {in: anyState, run: (*session).id},

	"STARTTLS":     {in: notAuthenticated, run: (*session).startTLS, updates: updatesNone},
	"LOGIN":        {in: notAuthenticated, run: (*session).login},
	"AUTHENTICATE": {in: notAuthenticated, run: (*session).authenticate},

	"ENABLE":      {in: afterLogin, run: (*session).enable},
	"NAMESPACE":   {in: afterLogin, run: (*session).namespace},
	"SELECT":      {in: afterLogin, run: (*session).selectMailbox, updates: updatesNone},
	"EXAMINE":     {in: afterLogin, run: (*session).selectMailbox, updates: updatesNone},
	"CREATE":      {in: afterLogin, run: (*session).create},
	"DELETE":      {in: afterLogin, run: (*session).delete},
	"RENAME":      {in: afterLogin, run: (*session).rename},
	"SUBSCRIBE":   {in: afterLogin, run: (*session).subscribe},
	"UNSUBSCRIBE": {in: afterLogin, run: (*session).subscribe},
	"LIST":        {in: afterLogin, run: (*session).list},
	"LSUB":        {in: afterLogin, run: (*session).lsub},
	"STATUS":      {in: afterLogin, run: (*session).status},
	"APPEND":      {in: afterLogin, run: (*session).append},
	"IDLE":        {in: afterLogin, run: (*session).idle},

	"CHECK":    {in: isSelected, run: (*session).noop},
	"CLOSE":    {in: isSelected, run: (*session).close, updates: updatesNone},
	"UNSELECT": {in: isSelected, run: (*session).unselect, updates: updatesNone},
	"EXPUNGE":  {in: isSelected, run: (*session).expunge, writes: true},
	"SEARCH":   {in: isSelected, run: (*session).search, updates: updatesNoExpunge},
	"FETCH":    {in: isSelected, run: (*session).fetch, updates: updatesNone},
	"STORE":    {in: isSelected, run: (*session).storeFlags, updates: updatesNone, writes: true},
	"COPY":     {in: isSelected, run: (*session).copy},
	"MOVE":     {in: isSelected, run: (*session).copy, writes: true},
}

func (s *session) state() stateSet {
	switch {
	case s.user == nil:
		return notAuthenticated
	case s.sel == nil:
		return authenticated
	}
	return isSelected
}

// execute runs one command and writes its tagged answer.
func (s *session) execute(ctx context.Context, cmd *imap.Command) {
	row, known := commands[cmd.Name]
	var ans answer
	var err error
	switch {
	case !known:
		err = bad("Command not supported")
	case row.in&s.state() == 0:
		err = bad("Not in this state")
	case row.writes && s.sel.readOnly:
		err = no(imap.CodeReadOnly, "Mailbox is selected read-only")
	default:
		if asksCondStore(cmd) && s.enableCondStore() {
			s.tellKnown()
		}
		ans, err = row.run(s, ctx, cmd)
		if err == nil && s.sel != nil {
			err = s.update(row.updates, cmd.UID)
			if ans.highest && s.enabled.condStore { // the client knows all by now
				ans.code = imap.CodeHighestModSeq(uint64(s.sel.toldExpunges))
			}
		} else if errors.As(err, new(*replica.PartialError)) && s.sel != nil {
			err = errors.Join(err, s.update(min(row.updates, updatesNoExpunge), cmd.UID)) // what was done
		}
	}
	s.conclude(cmd, known, ans, err)
}

// update tells the client of changes as far as the command allows.
func (s *session) update(u updates, uid bool) error {
	if u == updatesNone {
		return nil
	}
	return s.tell(u == updatesAll || uid, nil)
}

// conclude writes the tagged answer.
func (s *session) conclude(cmd *imap.Command, known bool, ans answer, err error) {
	name, result := "other", "ok"
	if known {
		name = cmd.Name
	}
	defer func() { s.cfg.Metrics.Commands.WithLabelValues(name, result).Inc() }()
	var wrong *badError
	var end *byeError
	switch {
	case s.over || s.w.Err() != nil || err == errAnswered:
		return
	case err == nil:
		s.errors = 0
		if ans.text == "" {
			ans.text = name + " completed"
		}
		s.w.Status(cmd.Tag, imap.StatusOK, ans.code, ans.text)
	case errors.As(err, &wrong):
		result = "bad"
		s.bad(cmd.Tag, imap.CodeClientBug, wrong.text)
	case errors.As(err, &end):
		result = "bye"
		s.bye(end.code, end.text)
	case s.syntaxInside(err):
		result = "bad"
	default:
		result = "no"
		r, expected := refusalOf(err)
		if !expected {
			s.log.Error("command failed", "command", name, "account", s.account(), "err", err)
		} else {
			s.log.Debug("command refused", "command", name, "account", s.account(), "err", err)
		}
		s.w.Status(cmd.Tag, imap.StatusNO, r.code, r.text)
	}
}

// syntaxInside answers an error of the Reader in the middle of a command (APPEND, AUTHENTICATE, IDLE).
func (s *session) syntaxInside(err error) bool {
	var syntax *imap.SyntaxError
	var refused *imap.RefusedError
	var fatal *imap.FatalError
	var broken *readFailure
	if errors.As(err, &syntax) || errors.As(err, &refused) || errors.As(err, &fatal) || errors.As(err, &broken) {
		s.readError(err)
		return true
	}
	return false
}

// readFailure marks an error of the connection while a command waited for more of the client.
type readFailure struct{ err error }

func (r *readFailure) Error() string { return "read from client: " + r.err.Error() }
func (r *readFailure) Unwrap() error { return r.err }

func readFailed(err error) error {
	if err == nil {
		return nil
	}
	return &readFailure{err}
}
