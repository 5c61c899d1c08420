package dsn

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// people writes the text of the first part, in UTF-8 with CRLF, unencoded.
type people struct {
	w   io.Writer
	err error
}

func (p *people) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\r\n", args...)
	}
}

func writePeople(w io.Writer, r *Report, back returned) error {
	p := &people{w: w}
	for i, l := range []*words{vietnamese(), english()} {
		if i > 0 {
			p.line("")
			p.line("------------------------------------------------------------")
			p.line("")
		}
		p.language(r, l, back)
	}
	return p.err
}

func (p *people) language(r *Report, l *words, back returned) {
	p.line(l.greet, r.ReportingMTA)
	if l.other != "" {
		p.line("%s", l.other)
	}
	p.line("")
	p.line("%s", l.intro[r.Kind])
	p.line("")
	if s := clean(r.Subject, 200); s != "" {
		p.line("    "+l.about, s)
	}
	if !r.Arrival.IsZero() {
		p.line("    "+l.arrived, clock(r.Arrival))
	}
	for _, to := range r.Recipients[:min(len(r.Recipients), maxTold)] {
		p.recipient(r, l, to)
	}
	if n := len(r.Recipients) - maxTold; n > 0 {
		p.line("")
		p.line(l.more, n)
	}
	if s := l.back[back]; s != "" {
		p.line("")
		p.line("%s", s)
	}
}

func (p *people) recipient(r *Report, l *words, to Recipient) {
	action := r.actionOf(to)
	a := l.adviceFor(action, reasonFor(to, r.statusOf(to)))
	p.line("")
	p.line("<%s>", to.Final)
	p.line("    %s", a.what)
	if r.Kind != DoubleBounce && a.todo != "" {
		p.line("    %s", a.todo)
	}
	if action == Delayed && !to.WillRetryUntil.IsZero() {
		p.line("    "+l.until, clock(to.WillRetryUntil))
	}
	p.quote(l, to)
}

// adviceFor: a delay asks for nothing to be done, but a full mailbox is worth to be known of.
func (l *words) adviceFor(action Kind, why reason) advice {
	switch {
	case action == Failed:
		return l.failed[why]
	case action == Delayed && why == mailboxFull:
		return advice{l.failed[why].what, l.plain[Delayed].todo}
	}
	return l.plain[action]
}

// quote says in whose words the reason is: another server's, or ours.
func (p *people) quote(l *words, to Recipient) {
	text := cut(to.Diagnostic, maxDiagnostic)
	if clean(text, maxDiagnostic) == "" {
		return
	}
	switch {
	case to.answered():
		p.line("    "+l.answer, to.RemoteMTA)
	case isHostText(to.RemoteMTA):
		p.line("    "+l.tried, to.RemoteMTA)
	default:
		p.line("    %s", l.own)
	}
	for line := range strings.Lines(text) {
		if line = clean(line, maxDiagnostic); line != "" {
			p.line("        %s", line)
		}
	}
}

// clock is a time that both languages read in one way.
func clock(t time.Time) string { return t.Format("2006-01-02 15:04:05 -0700") }
