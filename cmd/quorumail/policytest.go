package main

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/queue/filter"
)

// maxTestMessageBytes bounds a message that is read from standard input, where it can be read only once.
const maxTestMessageBytes = 100 << 20

func policyTestCommand() *cobra.Command {
	c := withJSON(&cobra.Command{Use: "test MESSAGE", Short: "Say what the rules would do with a message: a file, or - for standard input", Args: cobra.ExactArgs(1),
		Long: "Judges a message by the rules that are in force, here and now, and says which of them match, and where. Nothing is sent. What the envelope is, the\n" +
			"flags say; without --from it is the null sender.",
		Example: "  quorumail policy test letter.eml --client 192.0.2.7 --from an@example.net --to binh@example.org",
		RunE:    runPolicyTest})
	f := c.Flags()
	f.String("client", "", "address that the message comes from")
	f.String("from", "", "envelope sender")
	f.StringSlice("to", nil, "envelope recipients")
	f.String("direction", "in", "in: for mailboxes here; out: for other systems")
	return c
}

func runPolicyTest(cmd *cobra.Command, args []string) error {
	m, err := testMessage(cmd, args[0])
	if err != nil {
		return err
	}
	rules, err := call[[]admin.Rule](cmd, "policy.list", admin.Empty{})
	if err != nil {
		return err
	}
	set, err := compileShown(rules)
	if err != nil {
		return fmt.Errorf("a rule that another program wrote: use the program of the nodes: %w", err)
	}
	e, err := set.Explain(cmd.Context(), m)
	if err != nil {
		return fmt.Errorf("judge the message: %w", err)
	}
	return showExplanation(cmd, e)
}

// compileShown compiles rules as they are listed, which is in their order.
func compileShown(rules []admin.Rule) (*filter.RuleSet, error) {
	var list []filter.Rule
	for _, r := range rules {
		if !r.Disabled {
			list = append(list, filter.Rule{ID: r.ID, Action: r.Action, Field: r.Field, Header: r.Header, Pattern: r.Pattern, Direction: r.Direction, Note: r.Note, Reply: r.Reply})
		}
	}
	return filter.Compile(list)
}

// testMessage is what the flags and the file say.
func testMessage(cmd *cobra.Command, file string) (*filter.Message, error) {
	f := cmd.Flags()
	client, _ := f.GetString("client")
	from, _ := f.GetString("from")
	to, _ := f.GetStringSlice("to")
	direction, _ := f.GetString("direction")
	m := &filter.Message{Direction: map[string]filter.Direction{"in": filter.In, "out": filter.Out}[direction]}
	if m.Direction == 0 {
		return nil, usageError{fmt.Errorf("--direction is in or out")}
	}
	var err error
	if client != "" {
		if m.Client, err = netip.ParseAddr(client); err != nil {
			return nil, usageError{fmt.Errorf("--client: %q is no address: write 192.0.2.7 or 2001:db8::7", client)}
		}
	}
	if from = strings.Trim(from, "<> "); from != "" {
		if m.From, err = smtp.ParseAddress(from); err != nil {
			return nil, usageError{fmt.Errorf("--from %q: %w", from, err)}
		}
	}
	for _, s := range to {
		a, err := smtp.ParseAddress(strings.Trim(s, "<> "))
		if err != nil {
			return nil, usageError{fmt.Errorf("--to %q: %w", s, err)}
		}
		m.Recipients = append(m.Recipients, a)
	}
	m.Open, err = opener(cmd.InOrStdin(), file)
	return m, err
}

// opener reads a message as often as it takes.
func opener(stdin io.Reader, file string) (func() (io.ReadCloser, error), error) {
	if file != "-" {
		info, err := os.Stat(file)
		switch {
		case err != nil:
			return nil, fmt.Errorf("read the message: %w", err)
		case info.IsDir():
			return nil, usageError{fmt.Errorf("%s is a folder: name the file of one message, or - for standard input", file)}
		case info.Mode().IsRegular():
			return func() (io.ReadCloser, error) { return os.Open(file) }, nil
		}
		pipe, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read the message: %w", err)
		}
		defer pipe.Close()
		return readOnce(pipe, file)
	}
	return readOnce(stdin, "standard input")
}

// readOnce is opener for what can be read only once.
func readOnce(in io.Reader, name string) (func() (io.ReadCloser, error), error) {
	raw, err := io.ReadAll(io.LimitReader(in, maxTestMessageBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the message from %s: %w", name, err)
	case len(raw) == 0:
		return nil, usageError{fmt.Errorf("%s has no message", name)}
	case len(raw) > maxTestMessageBytes:
		return nil, fmt.Errorf("the message from %s is longer than %s: write it into a file", name, humanSize(maxTestMessageBytes))
	}
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }, nil
}

// verdictJSON is what "policy test --json" prints.
type verdictJSON struct {
	Verdict   string      `json:"verdict"` // accept, tag, tempfail, hold, reject
	Reply     string      `json:"reply,omitempty"`
	Headers   []string    `json:"headers,omitempty"` // that would be put on top
	Rules     []string    `json:"rules"`             // that counted
	Matches   []matchJSON `json:"matches"`
	Truncated bool        `json:"truncated,omitempty"` // the message has more than is looked at
}

// matchJSON is a rule that matched.
type matchJSON struct {
	ID      string `json:"id"`
	Action  string `json:"action"`
	Where   string `json:"where"`
	Excerpt string `json:"excerpt"`
	Counts  bool   `json:"counts"` // false: a rule before it allowed the message
}

func showExplanation(cmd *cobra.Command, e filter.Explanation) error {
	out := verdictJSON{Verdict: e.Verdict.Action.String(), Reply: e.Verdict.Reply, Headers: []string{}, Rules: append([]string{}, e.Verdict.Rules...), Matches: []matchJSON{}, Truncated: e.Truncated}
	if e.Verdict.Action != filter.Reject && e.Verdict.Action != filter.Tempfail { // what is refused is not changed
		for _, h := range e.Verdict.Headers {
			out.Headers = append(out.Headers, strings.TrimRight(h, "\r\n"))
		}
	}
	var rows [][]string
	for _, m := range e.Matches {
		out.Matches = append(out.Matches, matchJSON{m.Rule.ID, m.Rule.Action, m.Where, m.Excerpt, m.Counts})
		counts := "yes"
		if !m.Counts {
			counts = "no, allowed before"
		}
		rows = append(rows, []string{m.Rule.ID, m.Rule.Action, counts, m.Where, plain(m.Excerpt)})
	}
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), out)
	}
	if len(rows) == 0 {
		say(cmd, "no rule matches")
	} else if err := show(cmd, out, "RULE ACTION COUNTS WHERE TEXT", rows); err != nil {
		return err
	}
	say(cmd, "verdict: %s", verdictText(out))
	if out.Truncated {
		say(cmd, "the message has more text than rules look at; the rest was not read")
	}
	return nil
}

func verdictText(v verdictJSON) string {
	text := v.Verdict
	if v.Reply != "" {
		text += ", with the reply: " + v.Reply
	}
	if len(v.Headers) > 0 {
		text += ", with " + strings.Join(v.Headers, " and ") + " on top"
	}
	return text
}
