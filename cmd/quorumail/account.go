package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
)

func accountCommand() *cobra.Command {
	c := &cobra.Command{Use: "account", Short: "Accounts: who has a mailbox here"}
	add := &cobra.Command{Use: "add ADDRESS", Short: "Make an account; the password comes from a prompt or from standard input", Args: cobra.ExactArgs(1), RunE: addAccount}
	accountFlags(add)
	set := &cobra.Command{Use: "set ADDRESS", Short: "Change an account", Args: cobra.ExactArgs(1), RunE: setAccount}
	accountFlags(set)
	set.Flags().Bool("suspended", false, "refuse logins; mail is still taken in")
	c.AddCommand(add, set,
		withJSON(&cobra.Command{Use: "list", Short: "List the accounts", Args: cobra.NoArgs, RunE: listAccounts}),
		withJSON(&cobra.Command{Use: "show ADDRESS", Short: "Show one account", Args: cobra.ExactArgs(1), RunE: showAccount}),
		&cobra.Command{Use: "passwd ADDRESS", Short: "Change the password; it comes from a prompt or from standard input", Args: cobra.ExactArgs(1), RunE: setPassword},
		&cobra.Command{Use: "remove ADDRESS", Short: "Remove an account and its mail", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			_, err := call[admin.Empty](cmd, "account.remove", admin.AccountRequest{Address: args[0]})
			return err
		}},
		appPasswordCommand())
	return c
}

func accountFlags(cmd *cobra.Command) {
	cmd.Flags().String("name", "", "the owner's name")
	cmd.Flags().Int64("quota-bytes", 0, "most bytes in its mailboxes; 0 for no limit")
	cmd.Flags().Int64("quota-messages", 0, "most messages in its mailboxes; 0 for no limit")
}

func accountRequest(cmd *cobra.Command, address string) admin.AccountRequest {
	r := admin.AccountRequest{Address: address}
	flags := cmd.Flags()
	if flags.Changed("name") {
		name, _ := flags.GetString("name")
		r.NewName = &name
	}
	if flags.Changed("quota-bytes") {
		n, _ := flags.GetInt64("quota-bytes")
		r.QuotaBytes = &n
	}
	if flags.Changed("quota-messages") {
		n, _ := flags.GetInt64("quota-messages")
		r.QuotaMessages = &n
	}
	if flags.Changed("suspended") {
		b, _ := flags.GetBool("suspended")
		r.Suspended = &b
	}
	return r
}

func addAccount(cmd *cobra.Command, args []string) error {
	r := accountRequest(cmd, args[0])
	if r.NewName != nil {
		r.Name, r.NewName = *r.NewName, nil
	}
	var err error
	if r.Password, err = readPassword(cmd); err != nil {
		return err
	}
	if _, err := call[admin.Empty](cmd, "account.add", r); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: made\n", args[0])
	return nil
}

func setAccount(cmd *cobra.Command, args []string) error {
	_, err := call[admin.Empty](cmd, "account.set", accountRequest(cmd, args[0]))
	return err
}

func setPassword(cmd *cobra.Command, args []string) error {
	password, err := readPassword(cmd)
	if err != nil {
		return err
	}
	_, err = call[admin.Empty](cmd, "account.passwd", admin.AccountRequest{Address: args[0], Password: password})
	return err
}

func listAccounts(cmd *cobra.Command, _ []string) error {
	list, err := call[[]admin.Account](cmd, "account.list", admin.Empty{})
	if err != nil {
		return err
	}
	return showAccounts(cmd, list, list)
}

func showAccount(cmd *cobra.Command, args []string) error {
	a, err := call[admin.Account](cmd, "account.show", admin.AccountRequest{Address: args[0]})
	if err != nil {
		return err
	}
	return showAccounts(cmd, a, []admin.Account{a})
}

func showAccounts(cmd *cobra.Command, v any, list []admin.Account) error {
	var rows [][]string
	for _, a := range list {
		state := "active"
		if a.Suspended {
			state = "suspended"
		}
		rows = append(rows, []string{a.Address, state, strconv.FormatInt(a.Messages, 10), strconv.FormatInt(a.UsedBytes, 10), limit(a.QuotaBytes), strconv.Itoa(len(a.AppPasswords)), a.Name})
	}
	return show(cmd, v, "ADDRESS STATE MESSAGES BYTES QUOTA APP-PASSWORDS NAME", rows)
}

func limit(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func appPasswordCommand() *cobra.Command {
	c := &cobra.Command{Use: "app-password", Short: "Passwords for single programs"}
	c.AddCommand(
		withJSON(&cobra.Command{Use: "add ADDRESS LABEL", Short: "Make one; it is printed once", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
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
			var rows [][]string
			for _, p := range a.AppPasswords {
				rows = append(rows, []string{p.ID, p.Label})
			}
			return show(cmd, a.AppPasswords, "ID LABEL", rows)
		}}),
		&cobra.Command{Use: "remove ADDRESS ID", Short: "Remove one", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			_, err := call[admin.Empty](cmd, "account.app-password.remove", admin.AccountRequest{Address: args[0], ID: args[1]})
			return err
		}})
	return c
}
