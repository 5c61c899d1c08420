package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/quorumail/quorumail/ops/admin"
)

// queuePrinter prints a list that comes in pieces. As JSON, it is one object: {"queues":…,"entries":[…],"more":false}.
type queuePrinter struct {
	out     io.Writer
	json    bool
	now     time.Time
	begun   bool
	printed int
	chosen  bool  // by a filter: that nothing fits it must be said
	widths  []int // of the columns so far: a list in pieces is one table
}

func (p *queuePrinter) print(piece admin.QueueList) error {
	first := !p.begun
	p.begun = true
	if p.json {
		return p.printJSON(first, piece)
	}
	var rows [][]string
	if first {
		if _, err := fmt.Fprintln(p.out, queueSummary(piece.Queues)); err != nil {
			return err
		}
	}
	for _, e := range piece.Entries {
		rows = append(rows, queueRow(e, p.now))
	}
	if p.printed == 0 && len(rows) > 0 {
		if _, err := fmt.Fprintln(p.out); err != nil {
			return err
		}
		rows = append([][]string{strings.Fields("QUEUE-ID QUEUE SIZE AGE TRIES NEXT OWNER SENDER RECIPIENT REASON")}, rows...)
	}
	p.printed += len(piece.Entries)
	return printAligned(p.out, rows, &p.widths)
}

func (p *queuePrinter) printJSON(first bool, piece admin.QueueList) error {
	if first {
		raw, err := json.Marshal(piece.Queues)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(p.out, `{"queues":%s,"entries":[`, raw); err != nil {
			return err
		}
	}
	for _, e := range piece.Entries {
		raw, err := json.Marshal(e)
		if err != nil {
			return err
		}
		comma := ","
		if p.printed == 0 {
			comma = ""
		}
		p.printed++
		if _, err := fmt.Fprintf(p.out, "%s%s", comma, raw); err != nil {
			return err
		}
	}
	return nil
}

func (p *queuePrinter) end(more bool) (err error) {
	switch {
	case p.json:
		_, err = fmt.Fprintf(p.out, "],\"more\":%t}\n", more)
	case more:
		_, err = fmt.Fprintf(p.out, "\nThere may be more: --limit 0 lists all.\n")
	case p.chosen && p.printed == 0:
		_, err = fmt.Fprintf(p.out, "\nNothing of this is what was asked for.\n")
	}
	return err
}

func queueSummary(q admin.QueueCounts) string {
	return fmt.Sprintf("in: %d, local: %d, remote: %d; held, of these: %d", q.In, q.Local, q.Remote, q.Held)
}

func queueRow(e admin.QueueEntry, now time.Time) []string {
	return []string{e.QueueID, e.Queue, humanSize(e.Bytes), humanSpan(now.Sub(e.Since)), strconv.Itoa(int(e.Attempts)), nextStep(e, now), e.Owner, "<" + plain(e.Sender) + ">",
		plain(e.Recipient), plain(lastReply(e))}
}

// nextStep is what an entry waits for.
func nextStep(e admin.QueueEntry, now time.Time) string {
	if n := e.Notice; n != "" && n != "delayed" && !e.Held && e.Next.After(now) {
		return "notice: " + n + ", not told yet, again in " + humanSpan(e.Next.Sub(now))
	}
	switch {
	case e.Trying:
		return "under way"
	case e.Held:
		return "held"
	case !nothingToTell(e.Notice):
		return "notice: " + e.Notice
	case !e.Next.After(now):
		return "now"
	}
	return "in " + humanSpan(e.Next.Sub(now))
}

// nothingToTell: the recipient is not dealt with yet.
func nothingToTell(notice string) bool { return notice == "" || notice == "delayed" }

// lastReply is what the last attempt met. What is held waits for its reason alone, which is a note of ours.
func lastReply(e admin.QueueEntry) string {
	if e.Held && nothingToTell(e.Notice) {
		return e.Reason
	}
	var parts []string
	if e.Peer != "" {
		parts = append(parts, e.Peer+":")
	}
	if e.Code != 0 {
		parts = append(parts, strconv.Itoa(int(e.Code)))
	}
	if e.Status != "" {
		parts = append(parts, e.Status)
	}
	return strings.Join(append(parts, e.Reason), " ")
}

// humanSpan is a length of time in its two largest units.
func humanSpan(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// plain is a text of a stranger's, without what a terminal would obey.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf) {
			return '?'
		}
		return r
	}, s)
}

func printQueueShow(out io.Writer, s admin.QueueShow, now time.Time) error {
	for _, m := range s.Messages {
		if err := printTable(out, messageFacts(m, now)); err != nil {
			return err
		}
	}
	if len(s.Messages) == 0 {
		if _, err := fmt.Fprintf(out, "nothing waits under this queue id any more\n\n"); err != nil {
			return err
		}
	}
	if s.Trace == nil {
		return nil
	}
	return printTraces(out, []admin.Trace{*s.Trace})
}

// messageFacts are the rows that describe a message and each of its entries.
func messageFacts(m admin.QueueMessage, now time.Time) (rows [][]string) {
	fact := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name + ":", plain(value)})
		}
	}
	fact("queue id", m.QueueID)
	fact("message id", m.MessageID)
	fact("from", "<"+m.Sender+">")
	fact("accepted", m.Received.Local().Format(storyTime)+", "+humanSpan(now.Sub(m.Received))+" ago")
	fact("size", humanSize(m.Bytes))
	fact("submitted by", m.Account)
	fact("client", strings.TrimSpace(m.Client+" "+m.Helo))
	fact("needs", needs(m))
	fact("ret", m.Ret)
	fact("envid", m.EnvID)
	for _, e := range m.Entries {
		rows = append(rows, []string{""})
		fact("recipient", e.Recipient)
		fact("named as", e.Original)
		fact("mailbox of", e.Account)
		fact("queue", e.Queue)
		fact("next", nextAt(e, now))
		fact("attempts", strconv.Itoa(int(e.Attempts)))
		fact("last", lastAt(e))
		fact("owner", e.Owner+" ("+e.OwnerID+")")
		if e.Warned {
			fact("delay", "the sender was told")
		}
	}
	return append(rows, []string{""})
}

// needs are what the next system must be able to do.
func needs(m admin.QueueMessage) string {
	var list []string
	for _, n := range []struct {
		is   bool
		name string
	}{{m.UTF8, "SMTPUTF8"}, {m.RequireTLS, "REQUIRETLS"}, {m.EightBit, "8BITMIME"}, {m.Binary, "BINARYMIME"}} {
		if n.is {
			list = append(list, n.name)
		}
	}
	return strings.Join(list, " ")
}

func nextAt(e admin.QueueEntry, now time.Time) string {
	step := nextStep(e, now)
	if strings.HasPrefix(step, "in ") {
		step += ", at " + e.Next.Local().Format(storyTime)
	}
	return step
}

func lastAt(e admin.QueueEntry) string {
	if e.Last.IsZero() {
		return strings.TrimSpace(lastReply(e))
	}
	return strings.TrimSpace(e.Last.Local().Format(storyTime) + "  " + lastReply(e))
}
