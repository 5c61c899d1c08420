package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/queue/filter"
)

func policyCommand() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Rules of your own: block, hold or mark mail by where it comes from and what it says",
		Long: "Each rule looks at one thing and does one thing. The first rule that allows a message ends the look; of those that matched before it the\n" +
			"strongest action counts: block, hold, defer, tag. Every change is written down (policy log) and holds at all nodes within a second."}
	c.AddCommand(policyListCommand(), policyAddCommand(), policySetCommand(), policyRemoveCommand(), policyTestCommand(), policyLogCommand())
	return c
}

// ruleFields are the flags that say what a rule looks at, and its pattern.
var ruleFields = []struct{ flag, field, help string }{
	{"client", filter.FieldClient, "the client's address: 192.0.2.7 or 192.0.2.0/24"},
	{"sender", filter.FieldSender, "the envelope sender: an@example.org, example.org, '*.example.org', 'news*@example.org', '<>'"},
	{"recipient", filter.FieldRecipient, "an envelope recipient, written alike"},
	{"from", filter.FieldFrom, "an address of the From field, written alike"},
	{"subject", filter.FieldSubject, "text in the Subject, whatever its case and diacritics; \"quoted\": whole words; *: anything in between"},
	{"body", filter.FieldBody, "text in the text parts, written alike"},
	{"attachment", filter.FieldAttachment, "text in the name of an attachment, written alike: .exe"},
}

// ruleFlags are those that say what a rule shall be.
func ruleFlags(c *cobra.Command) {
	f := c.Flags()
	f.String("action", "", "block, hold, tag, defer (refuse for now) or allow")
	for _, r := range ruleFields {
		f.String(r.flag, "", "look at "+r.help)
	}
	f.String("header", "", "look at the header field of this name, for --contains; * for any")
	f.String("contains", "", "text in the field that --header names; * for \"it is there\"")
	f.String("direction", "both", "in, out or both")
	f.String("reply", "", "what a refused sender reads")
	f.String("note", "", "for yourself")
	f.Uint32("position", 0, "rules with lower ones come first (default: behind all others)")
	f.Bool("disabled", false, "keep the rule, and do not look at it")
}

func policyAddCommand() *cobra.Command {
	c := withJSON(&cobra.Command{Use: "add", Short: "Make a rule", Args: cobra.NoArgs,
		Example: `  quorumail policy add --action block --client 192.0.2.0/24
  quorumail policy add --action hold --sender '*@spam.test' --note "until they answer"
  quorumail policy add --action block --header Subject --contains 'tiền thưởng' --direction in
  quorumail policy add --action allow --sender friend@example.org --position 1`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := ruleRequest(cmd)
			if err != nil {
				return err
			}
			if r.Action == nil || r.Field == nil {
				return usageError{fmt.Errorf("a rule needs --action and one thing to look at: --client, --sender, --recipient, --from, --subject, --body, --attachment, or --header with --contains")}
			}
			r.ID, _ = cmd.Flags().GetString("id")
			return changeRule(cmd, "policy.add", "made", r)
		}})
	ruleFlags(c)
	c.Flags().String("id", "", "its name in replies and traces (default: a short one is chosen)")
	return c
}

func policySetCommand() *cobra.Command {
	c := withJSON(&cobra.Command{Use: "set ID", Short: "Change a rule; what no flag names stays as it is", Args: cobra.ExactArgs(1),
		Example: "  quorumail policy set r7k2m --action hold\n  quorumail policy set r7k2m --disabled",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := ruleRequest(cmd)
			if err != nil {
				return err
			}
			if r == (admin.RuleRequest{Who: r.Who}) {
				return usageError{fmt.Errorf("say what to change (see %s --help)", cmd.CommandPath())}
			}
			r.ID = args[0]
			return changeRule(cmd, "policy.set", "changed", r)
		}})
	ruleFlags(c)
	return c
}

func changeRule(cmd *cobra.Command, method, done string, r admin.RuleRequest) error {
	rule, err := call[admin.Rule](cmd, method, r)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), rule)
	}
	say(cmd, "%s: %s", rule.ID, done)
	return nil
}

// ruleRequest is what the flags say.
func ruleRequest(cmd *cobra.Command) (r admin.RuleRequest, err error) {
	f := cmd.Flags()
	r.Who = who()
	for name, to := range map[string]**string{"action": &r.Action, "direction": &r.Direction, "reply": &r.Reply, "note": &r.Note} {
		if f.Changed(name) {
			v, _ := f.GetString(name)
			*to = &v
		}
	}
	if f.Changed("position") {
		v, _ := f.GetUint32("position")
		r.Position = &v
	}
	if f.Changed("disabled") {
		v, _ := f.GetBool("disabled")
		r.Disabled = &v
	}
	return r, ruleLook(cmd, &r)
}

// ruleLook is what the rule looks at: one thing.
func ruleLook(cmd *cobra.Command, r *admin.RuleRequest) error {
	f := cmd.Flags()
	look := func(field, header, pattern string) error {
		if r.Field != nil {
			return usageError{fmt.Errorf("a rule looks at one thing: make one for %s and one for %s", *r.Field, field)}
		}
		r.Field, r.Header, r.Pattern = &field, &header, &pattern
		return nil
	}
	for _, x := range ruleFields {
		if !f.Changed(x.flag) {
			continue
		}
		pattern, _ := f.GetString(x.flag)
		if err := look(x.field, "", pattern); err != nil {
			return err
		}
	}
	if f.Changed("header") != f.Changed("contains") {
		return usageError{fmt.Errorf("--header NAME and --contains TEXT go together")}
	}
	if !f.Changed("header") {
		return nil
	}
	header, _ := f.GetString("header")
	text, _ := f.GetString("contains")
	return look(filter.FieldHeader, header, text)
}

func policyRemoveCommand() *cobra.Command {
	return withYes(&cobra.Command{Use: "remove ID", Short: "Remove a rule", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if err := confirm(cmd, fmt.Sprintf("Mail will pass that rule %s stopped or marked", args[0])); err != nil {
			return err
		}
		if _, err := call[admin.Empty](cmd, "policy.remove", admin.RuleRequest{ID: args[0], Who: who()}); err != nil {
			return err
		}
		say(cmd, "%s: removed", args[0])
		return nil
	}})
}

func policyListCommand() *cobra.Command {
	return withJSON(&cobra.Command{Use: "list", Short: "List the rules in their order", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		list, err := call[[]admin.Rule](cmd, "policy.list", admin.Empty{})
		if err != nil {
			return err
		}
		var rows [][]string
		for _, r := range list {
			rows = append(rows, ruleRow(r))
		}
		return show(cmd, list, "ID POSITION ACTION DIRECTION LOOKS-AT PATTERN CHANGED BY NOTE", rows)
	}})
}

func ruleRow(r admin.Rule) []string {
	action, field := r.Action, r.Field
	if r.Disabled {
		action += " (disabled)"
	}
	if r.Header != "" {
		field += " " + r.Header
	}
	return []string{r.ID, strconv.Itoa(int(r.Position)), action, r.Direction, plain(field), plain(r.Pattern), day(r.Changed), plain(r.ChangedBy), plain(r.Note)}
}

func policyLogCommand() *cobra.Command {
	c := withJSON(&cobra.Command{Use: "log", Short: "Who changed rules, routes and DKIM keys, the newest first", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		limit, _ := cmd.Flags().GetInt("limit")
		if limit < 1 {
			return usageError{fmt.Errorf("--limit takes a number of changes")}
		}
		list, err := call[[]admin.AuditEvent](cmd, "policy.log", admin.AuditRequest{Limit: limit})
		if err != nil {
			return err
		}
		keys, err := call[[]admin.AuditEvent](cmd, "dkim.log", admin.AuditRequest{Limit: limit})
		if err != nil {
			return err
		}
		list = newestChanges(limit, list, keys)
		var rows [][]string
		for _, e := range list {
			rows = append(rows, []string{e.Time.Local().Format(storyTime), e.Node, plain(e.Who), plain(e.Text)})
		}
		return show(cmd, list, "TIME NODE WHO WHAT", rows)
	}})
	c.Flags().Int("limit", 100, "print at most so many changes")
	return c
}
