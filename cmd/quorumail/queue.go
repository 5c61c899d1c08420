package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
)

func queueCommand() *cobra.Command {
	c := &cobra.Command{Use: "queue", Short: "Queues: the messages that wait, for whom and why",
		Long: "A message without a reason to wait is in no queue. In \"in\" it waits for its checks, in \"local\" for a mailbox that cannot take it now (over quota, or\n" +
			"its account is suspended), in \"remote\" for another system. An entry is one recipient of a message. All commands work at any node."}
	c.AddCommand(queueListCommand(), queueShowCommand(), queueActCommand("retry", "Try again now, instead of when the next attempt is due"),
		queueActCommand("hold", "Try no more until it is released"), queueActCommand("release", "Go on with what is held, and take its checks as passed"),
		queueActCommand("bounce", "Give up, and tell the senders"), queueActCommand("delete", "Give up, and tell nobody"), queueFlushCommand())
	return c
}

// queueFlags are those that choose entries.
func queueFlags(c *cobra.Command) {
	f := c.Flags()
	f.String("queue", "", "only this queue: in, local or remote")
	f.String("sender", "", "only from this sender; * stands for anything, <> for no sender: '*@example.org'")
	f.String("recipient", "", "only for this recipient; * stands for anything")
	f.String("domain", "", "only for recipients of this domain")
	f.String("older-than", "", "only what was accepted longer ago than this: 30m, 1h, 2d")
	if f.Lookup("reason") == nil {
		f.String("reason", "", "only where the last attempt met this text, whatever its case and diacritics")
	}
	f.Bool("held", false, "only what is held")
	f.String("owner", "", "only what this node works on: its name or id")
}

func queueFilter(cmd *cobra.Command, ids []string, reasonFlag string) (admin.QueueFilter, error) {
	f := admin.QueueFilter{IDs: ids}
	for name, to := range map[string]*string{"queue": &f.Queue, "sender": &f.Sender, "recipient": &f.Recipient, "domain": &f.Domain, reasonFlag: &f.Reason, "owner": &f.Owner} {
		*to, _ = cmd.Flags().GetString(name)
	}
	f.Held, _ = cmd.Flags().GetBool("held")
	age, _ := cmd.Flags().GetString("older-than")
	if age == "" {
		return f, nil
	}
	d, err := parseAge(age)
	if err != nil {
		return f, usageError{fmt.Errorf("--older-than: %w", err)}
	}
	f.OlderThanMs = d.Milliseconds()
	return f, nil
}

// parseAge reads 90s, 30m, 1h, and whole days: 2d.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no length of time: write 90s, 30m, 1h or 2d", s)
	}
	return d, nil
}

func queueListCommand() *cobra.Command {
	c := withJSON(&cobra.Command{Use: "list [QUEUE-ID...]", Short: "List what waits, the oldest first",
		Example: `  quorumail queue list
  quorumail queue list --queue remote --domain example.org --older-than 1h
  quorumail queue list --reason "connection refused" --limit 0 --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := queueFilter(cmd, args, "reason")
			if err != nil {
				return err
			}
			limit, _ := cmd.Flags().GetInt("limit")
			if limit < 0 {
				return usageError{fmt.Errorf("--limit takes a number of entries; 0 for all")}
			}
			return listQueue(cmd, filter, limit)
		}})
	queueFlags(c)
	c.Flags().Int("limit", 1000, "print at most so many entries; 0: all")
	return c
}

// listQueue asks for a piece after the other and prints it: a queue may be longer than memory is large.
func listQueue(cmd *cobra.Command, filter admin.QueueFilter, limit int) error {
	p := queuePrinter{out: cmd.OutOrStdout(), json: wantsJSON(cmd), now: time.Now()}
	r := admin.QueueListRequest{Filter: filter}
	for {
		if r.Limit = 0; limit > 0 {
			r.Limit = limit - p.printed
		}
		piece, err := call[admin.QueueList](cmd, "queue.list", r)
		if err != nil {
			return err
		}
		if err := p.print(piece); err != nil {
			return err
		}
		if piece.Next == nil || limit > 0 && p.printed >= limit {
			return p.end(piece.Next != nil)
		}
		r.From = *piece.Next
	}
}

// queuePrinter prints a list that comes in pieces. As JSON, it is one object: {"queues":…,"entries":[…],"more":false}.
type queuePrinter struct {
	out     io.Writer
	json    bool
	now     time.Time
	begun   bool
	printed int
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
	return printTable(p.out, rows)
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
	switch {
	case e.Trying:
		return "under way"
	case e.Held:
		return "held"
	case e.Notice != "" && e.Notice != "delayed":
		return "notice: " + e.Notice
	case !e.Next.After(now):
		return "now"
	}
	return "in " + humanSpan(e.Next.Sub(now))
}

// lastReply is what the last attempt met.
func lastReply(e admin.QueueEntry) string {
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

func queueShowCommand() *cobra.Command {
	return withJSON(&cobra.Command{Use: "show QUEUE-ID", Short: "Show all that is known of a message that waits, and what became of it so far", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := call[admin.QueueShow](cmd, "queue.show", admin.QueueShowRequest{ID: args[0]})
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), s)
			}
			return printQueueShow(cmd.OutOrStdout(), s, time.Now())
		}})
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
