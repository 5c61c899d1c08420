package imap

// SyntaxError is a command that this server does not understand. It was consumed to its end,
// literals included: the next command starts where the client means it to. Answer with Tag BAD.
type SyntaxError struct {
	Tag  string // "*" when the line had no readable tag
	Name string // upper case, "" when unreadable
	Code Code
	Text string // fit for the client; no bytes of the client's in it
}

func (e *SyntaxError) Error() string { return "imap: bad command " + e.Name + ": " + e.Text }

// RefusedError is a command that is well-formed but that cannot be done as asked (an unknown charset, a literal
// too large). It was consumed to its end. Answer with Tag NO.
type RefusedError struct {
	Tag  string
	Name string
	Code Code
	Text string
}

func (e *RefusedError) Error() string { return "imap: refused command " + e.Name + ": " + e.Text }

// FatalError means that the stream cannot be followed further. Answer with "* BYE Text" and close.
type FatalError struct{ Text string }

func (e *FatalError) Error() string { return "imap: " + e.Text }
