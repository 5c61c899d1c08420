package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
)

// storyTime is how stories write a moment, in the time zone of whoever reads them.
const storyTime = "2006-01-02 15:04:05.000"

// printTraces tells stories to people.
func printTraces(out io.Writer, list []admin.Trace) error {
	for i, t := range list {
		gap := ""
		if i > 0 {
			gap = "\n"
		}
		if _, err := fmt.Fprintf(out, "%smessage %s\n", gap, t.QueueID); err != nil {
			return err
		}
		if err := printTable(out, storyRows(t, time.Local)); err != nil {
			return err
		}
	}
	return nil
}

// storyRows are the lines of a story: when, where, what, and what there is to say of it, over as many lines as it takes.
func storyRows(t admin.Trace, zone *time.Location) [][]string {
	var rows [][]string
	if t.Omitted > 0 {
		rows = append(rows, []string{"", "", "", fmt.Sprintf("(%d events before)", t.Omitted)})
	}
	for _, e := range t.Events {
		lines := storyLines(e)
		rows = append(rows, []string{e.Time.In(zone).Format(storyTime), e.Node, e.Kind, plain(lines[0])})
		for _, more := range lines[1:] {
			rows = append(rows, []string{"", "", "", plain(more)})
		}
	}
	return rows
}

// storyLines is what there is to say of an event; at least one line.
func storyLines(e admin.TraceEvent) []string {
	var lines []string
	add := func(format string, args ...any) {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
	switch {
	case e.Sender != nil:
		lines = acceptedLines(e)
	case e.Kind == "resent" && e.Related != "":
		add("the same message as %s, which was taken before: its trace tells the rest", e.Related)
	case e.Related != "":
		add("%s: the sender was told in message %s", e.Address, e.Related)
	default:
		add("%s", outcomeLine(e))
	}
	for _, p := range e.Placed {
		if p.Error != "" {
			add("not into %s of %s: %s", p.Mailbox, p.Account, p.Error)
		} else if p.UID != 0 {
			add("into %s of %s, UID %d", p.Mailbox, p.Account, p.UID)
		} else {
			add("is in %s of %s already", p.Mailbox, p.Account)
		}
	}
	for _, q := range e.Queued {
		name, address, _ := strings.Cut(q, ": ")
		add("waits for %s in the queue %q", address, name)
	}
	return lines
}

func acceptedLines(e admin.TraceEvent) []string {
	first := fmt.Sprintf("from <%s>, %s", *e.Sender, humanSize(e.Bytes))
	if e.MessageID != "" {
		first += ", Message-ID " + e.MessageID
	}
	lines := []string{first}
	if line := originLine(e); line != "" {
		lines = append(lines, line)
	}
	if len(e.Recipients) > 0 {
		lines = append(lines, "for "+strings.Join(e.Recipients, ", "))
	}
	if e.Checks != "" {
		lines = append(lines, "checks: "+e.Checks)
	}
	if e.Text != "" {
		lines = append(lines, e.Text)
	}
	return lines
}

// originLine tells how a message came.
func originLine(e admin.TraceEvent) string {
	var parts []string
	if e.Listener != "" {
		parts = append(parts, "by "+e.Listener)
	}
	if e.Client != "" {
		helo := ""
		if e.Helo != "" {
			helo = " (" + e.Helo + ")"
		}
		parts = append(parts, "from "+e.Client+helo)
	}
	if e.Account != "" {
		parts = append(parts, "submitted by "+e.Account)
	}
	if e.Client != "" {
		parts = append(parts, cmp.Or(e.TLS, "without TLS"))
	}
	return strings.Join(parts, ", ")
}

// outcomeLine tells of one recipient: whom, at which attempt, what was answered and by whom.
func outcomeLine(e admin.TraceEvent) string {
	line := e.Address
	if e.Attempt > 0 {
		line += fmt.Sprintf(", attempt %d", e.Attempt)
	}
	answer := e.Text
	if e.Code > 0 {
		answer = strings.TrimSpace(fmt.Sprintf("%d %s", e.Code, e.Text))
	}
	switch {
	case e.Peer != "" && e.Code > 0:
		answer = strings.TrimSpace(e.Peer + " said: " + answer)
	case e.Peer != "": // it was not reached, or did not come so far
		answer = strings.TrimSuffix("at "+e.Peer+": "+answer, ": ")
	}
	if answer != "" && line != "" {
		line += ": "
	}
	return strings.TrimPrefix(line+answer, ", ")
}
