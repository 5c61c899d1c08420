package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/store"
)

// queueActWords are what an action says of itself.
type queueActWords struct{ done, skipped, example string }

var queueActs = map[string]queueActWords{
	"retry":   {"will be tried at once", "are held (see: quorumail queue release) or being tried right now", "  quorumail queue retry 4mz8qk2c1x\n  quorumail queue retry --domain example.org"},
	"hold":    {"held", "are held already", "  quorumail queue hold --sender '*@example.org' --yes --note \"is it spam?\""},
	"release": {"released", "are not held", "  quorumail queue release 4mz8qk2c1x"},
	"bounce":  {"given up: their senders will be told", "are dealt with, and only the notice to the sender is left", "  quorumail queue bounce 4mz8qk2c1x --recipient an@example.org --reason \"the address was left\""},
	"delete":  {"deleted", "", "  quorumail queue delete --sender '*@spam.test' --older-than 1h"},
}

// askFirst is what is said of questions before an action; "" for trying again, which does no harm.
var askFirst = map[string]string{"hold": askForMany, "release": askForMany, "bounce": askForMany, "delete": " It asks before, or needs --yes."}

const askForMany = " More than one\nmessage that flags choose needs --yes, or an answer."

// queueActCommand does something with the entries of queue ids, or with those that flags choose.
func queueActCommand(action, short string) *cobra.Command {
	c := withYes(withJSON(&cobra.Command{Use: action + " [QUEUE-ID...]", Short: short, Example: queueActs[action].example,
		Long: short + ".\n\nIt is about all recipients of the messages with these queue ids, or about what the flags choose; with both, about what fits both." + askFirst[action],
		RunE: func(cmd *cobra.Command, args []string) error { return actOnQueue(cmd, action, args) }}))
	note := "note"
	if action == "bounce" {
		note = "reason" // what the sender reads
	}
	c.Flags().String(note, "", map[string]string{"note": "why; the trace tells it", "reason": "why; the senders read it"}[note])
	if action == "bounce" {
		c.Flags().String("last-reason", "", "only where the column REASON of the list has this text, whatever its case and diacritics")
	}
	queueFlags(c)
	return c
}

func queueFlushCommand() *cobra.Command {
	c := withYes(withJSON(&cobra.Command{Use: "flush", Short: "Try all that waits again now, or all for one domain", Args: cobra.NoArgs, Example: "  quorumail queue flush --domain example.org",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := emptyFlag(cmd, "domain"); err != nil {
				return err
			}
			domain, _ := cmd.Flags().GetString("domain")
			return runQueueAct(cmd, "retry", admin.QueueActRequest{Filter: admin.QueueFilter{Domain: domain}})
		}}))
	c.Flags().String("domain", "", "only for recipients of this domain")
	return c
}

func actOnQueue(cmd *cobra.Command, action string, ids []string) error {
	filterReason, why := "reason", "note"
	if action == "bounce" {
		filterReason, why = "last-reason", "reason"
	}
	filter, err := queueFilter(cmd, ids, filterReason)
	if err != nil {
		return err
	}
	empty := filter
	empty.IDs = nil
	if len(ids) == 0 && emptyFilter(empty) {
		return usageError{fmt.Errorf("say which: name queue ids, or choose with flags such as --domain, --sender or --older-than (see %s --help)", cmd.CommandPath())}
	}
	r := admin.QueueActRequest{Filter: filter}
	r.Reason, _ = cmd.Flags().GetString(why)
	for _, id := range ids { // one that is mistyped must not go unnoticed among others
		if err := checkQueueID(cmd, id); err != nil {
			return err
		}
	}
	return runQueueAct(cmd, action, r)
}

func emptyFilter(f admin.QueueFilter) bool {
	return f.Queue == "" && f.Sender == "" && f.Recipient == "" && f.Domain == "" && f.OlderThanMs == 0 && f.Reason == "" && !f.Held && f.Owner == ""
}

func checkQueueID(cmd *cobra.Command, id string) error {
	n, err := countQueue(cmd, admin.QueueFilter{IDs: []string{id}})
	if err == nil && n.entries == 0 {
		err = fmt.Errorf("nothing waits under the queue id %q; what became of it tells \"quorumail trace %s\": %w", id, id, store.ErrNotFound)
	}
	return err
}

// queueTotal is what an action is about.
type queueTotal struct {
	entries, messages int
	last              uint64
}

func countQueue(cmd *cobra.Command, filter admin.QueueFilter) (sum queueTotal, err error) {
	c, err := client(cmd) // one for all pieces
	if err != nil {
		return sum, err
	}
	defer c.Close()
	r := admin.QueueCountRequest{Filter: filter}
	for {
		var n admin.QueueCount
		if err := c.Call(cmd.Context(), "queue.count", r, &n); err != nil {
			return sum, err
		}
		sum.entries, sum.messages = sum.entries+n.Entries, sum.messages+n.Messages
		if n.Entries > 0 && n.First == sum.last {
			sum.messages-- // it was counted in the piece before
		}
		if n.Entries > 0 {
			sum.last = n.Last
		}
		if n.Next == nil {
			return sum, nil
		}
		r.From = *n.Next
	}
}

// runQueueAct asks, when it is about much, and does it piece by piece.
func runQueueAct(cmd *cobra.Command, action string, r admin.QueueActRequest) error {
	total, err := countQueue(cmd, r.Filter)
	if err != nil {
		return err
	}
	if total.entries == 0 {
		return fmt.Errorf("nothing that waits is chosen by this: %w", store.ErrNotFound)
	}
	if asks := askFirst[action] != ""; action == "delete" || asks && total.messages > 1 && len(r.Filter.IDs) == 0 {
		if err := confirm(cmd, fmt.Sprintf("%s: %s of %s", action, plural(total.entries, "entry", "entries"), plural(total.messages, "message", "messages"))); err != nil {
			return err
		}
	}
	r.Action, r.Who, r.UpTo = action, who(), total.last
	sum, err := actAll(cmd, r)
	if err != nil {
		return errors.Join(err, sayActed(cmd, action, sum))
	}
	return sayActed(cmd, action, sum)
}

func actAll(cmd *cobra.Command, r admin.QueueActRequest) (sum admin.QueueActed, err error) {
	c, err := client(cmd)
	if err != nil {
		return sum, err
	}
	defer c.Close()
	for {
		var done admin.QueueActed
		if err := c.Call(cmd.Context(), "queue.act", r, &done); err != nil {
			return sum, err
		}
		sum.Done, sum.Gone, sum.Skipped = sum.Done+done.Done, sum.Gone+done.Gone, sum.Skipped+done.Skipped
		if done.Next == nil {
			return sum, nil
		}
		r.From = *done.Next
	}
}

func sayActed(cmd *cobra.Command, action string, sum admin.QueueActed) error {
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), sum)
	}
	say(cmd, "%s %s", plural(sum.Done, "entry", "entries"), queueActs[action].done)
	if sum.Skipped > 0 {
		say(cmd, "left alone: %d that %s", sum.Skipped, queueActs[action].skipped)
	}
	if sum.Gone > 0 {
		say(cmd, "not found any more: %d, which ended meanwhile", sum.Gone)
	}
	return nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
