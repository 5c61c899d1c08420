package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

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
		f.String("reason", "", "only where the column REASON has this text, whatever its case and diacritics")
	}
	f.Bool("held", false, "only what is held")
	f.String("owner", "", "only what this node works on: its name or id")
}

func queueFilter(cmd *cobra.Command, ids []string, reasonFlag string) (admin.QueueFilter, error) {
	f := admin.QueueFilter{IDs: ids}
	if err := emptyFlag(cmd, "queue", "sender", "recipient", "domain", reasonFlag, "owner", "older-than"); err != nil {
		return f, err
	}
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

// emptyFlag refuses flags that are there and empty, as a script's are when its variable was not set: they would choose all that waits.
func emptyFlag(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if v, err := cmd.Flags().GetString(name); err == nil && cmd.Flags().Changed(name) && strings.TrimSpace(v) == "" {
			return usageError{fmt.Errorf("--%s is empty: say what to choose by, or leave it out", name)}
		}
	}
	return nil
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
	c, err := client(cmd) // one for all pieces
	if err != nil {
		return err
	}
	defer c.Close()
	p := queuePrinter{out: cmd.OutOrStdout(), json: wantsJSON(cmd), now: time.Now(), chosen: len(filter.IDs) > 0 || !emptyFilter(filter)}
	r := admin.QueueListRequest{Filter: filter}
	for {
		if r.Limit = 0; limit > 0 {
			r.Limit = limit - p.printed
		}
		var piece admin.QueueList
		if err := c.Call(cmd.Context(), "queue.list", r, &piece); err != nil {
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
