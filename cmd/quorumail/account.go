package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/store"
)

func accountCommand() *cobra.Command {
	c := &cobra.Command{Use: "account", Short: "Accounts: who has a mailbox here"}
	c.AddCommand(addAccountCommand(), setAccountCommand(), passwdCommand(), removeAccountCommand(), listAccountsCommand(), showAccountCommand(), appPasswordCommand())
	return c
}

func addAccountCommand() *cobra.Command {
	c := withPassword(&cobra.Command{Use: "add ADDRESS", Short: "Make an account with its mailboxes", Args: cobra.ExactArgs(1),
		Long: "Makes an account with its mailboxes. The domain must have been added before. The password is asked for twice, or read from the first line of\nstandard input; it never stands on the command line.",
		Example: `  quorumail account add an@example.org --name "Nguyễn Văn An" --quota 5GiB
  quorumail account add an@example.org --password-stdin < password-file`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := accountRequest(cmd, args[0])
			if err != nil {
				return err
			}
			if r.Password, err = newPassword(cmd); err != nil {
				return err
			}
			if _, err := call[admin.Empty](cmd, "account.add", r); err != nil {
				return err
			}
			say(cmd, "%s: made", args[0])
			return nil
		}})
	accountFlags(c)
	return c
}

func setAccountCommand() *cobra.Command {
	c := &cobra.Command{Use: "set ADDRESS", Short: "Change an account", Args: cobra.ExactArgs(1),
		Long: "Changes an account; what no flag names stays as it is. A suspended account cannot log in, and its mail waits in the queue\n\"local\" until it is suspended no more.",
		Example: `  quorumail account set an@example.org --quota 10GiB
  quorumail account set an@example.org --quota none          no limit, whatever the cluster's default is
  quorumail account set an@example.org --quota default       the cluster's default: quorumail set account.quota_bytes
  quorumail account set an@example.org --suspended
  quorumail account set an@example.org --suspended=false`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := accountRequest(cmd, args[0])
			if err != nil {
				return err
			}
			if r == (admin.AccountRequest{Address: args[0]}) {
				return usageError{fmt.Errorf("say what to change, with --name, --quota, --quota-messages or --suspended")}
			}
			if _, err := call[admin.Empty](cmd, "account.set", r); err != nil {
				return err
			}
			say(cmd, "%s: changed", args[0])
			return nil
		}}
	accountFlags(c)
	return c
}

func accountFlags(cmd *cobra.Command) {
	cmd.Flags().String("name", "", "the owner's name")
	cmd.Flags().String("quota", "default", "most bytes in its mailboxes: a size such as 5GiB, \"none\", or \"default\"")
	cmd.Flags().String("quota-messages", "default", "most messages in its mailboxes: a number, \"none\", or \"default\"")
	cmd.Flags().Bool("suspended", false, "refuse its logins; its mail waits in the queue \"local\"")
}

func accountRequest(cmd *cobra.Command, address string) (r admin.AccountRequest, err error) {
	r.Address = address
	flags := cmd.Flags()
	if flags.Changed("name") {
		name, _ := flags.GetString("name")
		r.NewName = &name
	}
	if flags.Changed("suspended") {
		b, _ := flags.GetBool("suspended")
		r.Suspended = &b
	}
	if r.QuotaBytes, err = quotaFlag(cmd, "quota", store.ParseSize); err != nil {
		return r, err
	}
	r.QuotaMessages, err = quotaFlag(cmd, "quota-messages", func(s string) (int64, error) {
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil {
			return 0, fmt.Errorf("%q is no whole number", s)
		}
		return int64(n), nil
	})
	return r, err
}

// quotaFlag reads a quota as a person writes it; nil when the flag is not there.
func quotaFlag(cmd *cobra.Command, name string, parse func(string) (int64, error)) (*int64, error) {
	if !cmd.Flags().Changed(name) {
		return nil, nil
	}
	text, _ := cmd.Flags().GetString(name)
	var n int64
	switch text {
	case "default":
	case "none":
		n = store.Unlimited
	default:
		var err error
		if n, err = parse(text); err != nil {
			return nil, usageError{fmt.Errorf("--%s: %w, or \"none\" or \"default\"", name, err)}
		}
		if n == 0 {
			return nil, usageError{fmt.Errorf("--%s: 0 would keep out everything: write \"none\" for no limit, or --suspended to keep the owner out", name)}
		}
	}
	return &n, nil
}

func passwdCommand() *cobra.Command {
	return withPassword(&cobra.Command{Use: "passwd ADDRESS", Short: "Change an account's password", Args: cobra.ExactArgs(1),
		Long: "Changes an account's own password, at once and on all nodes; its app passwords stay. The password is asked for twice, or read from the first\nline of standard input.",
		Example: `  quorumail account passwd an@example.org
  quorumail account passwd an@example.org --password-stdin < password-file`,
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := newPassword(cmd)
			if err != nil {
				return err
			}
			if _, err := call[admin.Empty](cmd, "account.passwd", admin.AccountRequest{Address: args[0], Password: password}); err != nil {
				return err
			}
			say(cmd, "%s: the password is changed", args[0])
			return nil
		}})
}

func removeAccountCommand() *cobra.Command {
	return withYes(&cobra.Command{Use: "remove ADDRESS", Short: "Remove an account and its mail", Args: cobra.ExactArgs(1),
		Example: "  quorumail account remove an@example.org --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := call[admin.Account](cmd, "account.show", admin.AccountRequest{Address: args[0]})
			if err != nil {
				return err
			}
			if err := confirm(cmd, fmt.Sprintf("This removes the account %s and its %d messages (%s)", a.Address, a.Messages, humanSize(a.UsedBytes))); err != nil {
				return err
			}
			if _, err := call[admin.Empty](cmd, "account.remove", admin.AccountRequest{Address: args[0]}); err != nil {
				return err
			}
			say(cmd, "%s: removed", a.Address)
			return nil
		}})
}

func listAccountsCommand() *cobra.Command {
	return withJSON(&cobra.Command{Use: "list", Short: "List the accounts", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		list, err := call[[]admin.Account](cmd, "account.list", admin.Empty{})
		if err != nil {
			return err
		}
		var rows [][]string
		for _, a := range list {
			rows = append(rows, []string{a.Address, accountState(a), strconv.FormatInt(a.Messages, 10), humanSize(a.UsedBytes), limitOf(a.LimitBytes, humanSize), strconv.Itoa(len(a.AppPasswords)), a.Name})
		}
		return show(cmd, list, "ADDRESS STATE MESSAGES USED QUOTA APP-PASSWORDS NAME", rows)
	}})
}

func showAccountCommand() *cobra.Command {
	return withJSON(&cobra.Command{Use: "show ADDRESS", Short: "Show one account", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		a, err := call[admin.Account](cmd, "account.show", admin.AccountRequest{Address: args[0]})
		if err != nil {
			return err
		}
		facts := [][]string{{"address", a.Address}, {"name", a.Name}, {"state", accountState(a)},
			{"bytes", humanSize(a.UsedBytes) + " of " + limitOf(a.LimitBytes, humanSize) + whose(a.QuotaBytes)},
			{"messages", strconv.FormatInt(a.Messages, 10) + " of " + limitOf(a.LimitMessages, decimal) + whose(a.QuotaMessages)}}
		for _, p := range a.AppPasswords {
			facts = append(facts, []string{"app password", p.ID + "  " + day(p.Created) + "  " + p.Label})
		}
		return showFields(cmd, a, facts)
	}})
}

func accountState(a admin.Account) string {
	if a.Suspended {
		return "suspended"
	}
	return "active"
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func limitOf(n int64, format func(int64) string) string {
	if n == 0 {
		return "no limit"
	}
	return format(n)
}

// whose says where a limit comes from.
func whose(quota int64) string {
	if quota == 0 {
		return " (the cluster's default)"
	}
	return " (its own quota)"
}

// humanSize is a size in three digits or so.
func humanSize(n int64) string {
	const units = "KMGTP"
	if n < 1024 {
		return decimal(n) + " B"
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.3g %ciB", v, units[i])
}

func day(t time.Time) string { return t.Local().Format(time.DateOnly) }

func appPasswordCommand() *cobra.Command {
	c := &cobra.Command{Use: "app-password", Short: "Passwords for single programs",
		Long: "An app password lets one program in beside the account's own password, and can be taken back without changing it elsewhere."}
	c.AddCommand(
		withJSON(&cobra.Command{Use: "add ADDRESS LABEL", Short: "Make one; it is printed once and cannot be shown again", Args: cobra.ExactArgs(2),
			Example: `  quorumail account app-password add an@example.org "phone"`,
			RunE: func(cmd *cobra.Command, args []string) error {
				p, err := call[admin.AppPassword](cmd, "account.app-password.add", admin.AccountRequest{Address: args[0], Label: args[1]})
				if err != nil {
					return err
				}
				return show(cmd, p, "ID PASSWORD LABEL", [][]string{{p.ID, p.Password, p.Label}})
			}}),
		withJSON(&cobra.Command{Use: "list ADDRESS", Short: "List them", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			a, err := call[admin.Account](cmd, "account.show", admin.AccountRequest{Address: args[0]})
			if err != nil {
				return err
			}
			list := append([]admin.AppPassword{}, a.AppPasswords...)
			var rows [][]string
			for _, p := range list {
				rows = append(rows, []string{p.ID, day(p.Created), p.Label})
			}
			return show(cmd, list, "ID MADE LABEL", rows)
		}}),
		withYes(&cobra.Command{Use: "remove ADDRESS ID", Short: "Take one back; \"list\" shows its id", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			if err := confirm(cmd, fmt.Sprintf("The program that uses app password %s of %s will be locked out", args[1], args[0])); err != nil {
				return err
			}
			if _, err := call[admin.Empty](cmd, "account.app-password.remove", admin.AccountRequest{Address: args[0], ID: args[1]}); err != nil {
				return err
			}
			say(cmd, "%s: removed", args[1])
			return nil
		}}))
	return c
}
