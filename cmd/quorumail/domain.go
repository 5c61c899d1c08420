package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
)

func domainCommand() *cobra.Command {
	c := &cobra.Command{Use: "domain", Short: "Domains: whose mail is taken here"}
	add := &cobra.Command{Use: "add DOMAIN", Short: "Take a domain's mail", Args: cobra.ExactArgs(1),
		Example: "  quorumail domain add example.org\n  quorumail domain add müller.example",
		RunE:    changeDomain("domain.add", "added")}
	set := &cobra.Command{Use: "set DOMAIN", Short: "Change a domain", Args: cobra.ExactArgs(1),
		Example: "  quorumail domain set example.org --catch-all an@example.org\n  quorumail domain set example.org --catch-all \"\"\n  quorumail domain set example.org --suspended",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("catch-all") && !cmd.Flags().Changed("suspended") {
				return usageError{fmt.Errorf("say what to change, with --catch-all or --suspended")}
			}
			return changeDomain("domain.set", "changed")(cmd, args)
		}}
	for _, cmd := range []*cobra.Command{add, set} {
		cmd.Flags().String("catch-all", "", "address that gets the mail for unknown recipients; \"\" for none")
		cmd.Flags().Bool("suspended", false, "put its mail off: senders are told to try again later")
	}
	remove := withYes(&cobra.Command{Use: "remove DOMAIN", Short: "Take its mail no longer; its accounts, aliases and groups must be removed first", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := confirm(cmd, fmt.Sprintf("Mail for %s will be refused", args[0])); err != nil {
				return err
			}
			return changeDomain("domain.remove", "removed")(cmd, args)
		}})
	c.AddCommand(add, set, remove,
		withJSON(&cobra.Command{Use: "list", Short: "List the domains", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := call[[]admin.Domain](cmd, "domain.list", admin.Empty{})
			if err != nil {
				return err
			}
			return showDomains(cmd, list, list)
		}}),
		withJSON(&cobra.Command{Use: "show DOMAIN", Short: "Show one domain", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			d, err := call[admin.Domain](cmd, "domain.show", admin.DomainRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return showDomains(cmd, d, []admin.Domain{d})
		}}))
	return c
}

func changeDomain(method, done string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		r := admin.DomainRequest{Name: args[0]}
		if cmd.Flags().Changed("catch-all") {
			s, _ := cmd.Flags().GetString("catch-all")
			r.CatchAll = &s
		}
		if cmd.Flags().Changed("suspended") {
			b, _ := cmd.Flags().GetBool("suspended")
			r.Suspended = &b
		}
		if _, err := call[admin.Empty](cmd, method, r); err != nil {
			return err
		}
		say(cmd, "%s: %s", args[0], done)
		return nil
	}
}

func showDomains(cmd *cobra.Command, v any, list []admin.Domain) error {
	var rows [][]string
	for _, d := range list {
		state := "active"
		if d.Suspended {
			state = "suspended"
		}
		rows = append(rows, []string{d.Name, strconv.Itoa(d.Accounts), state, d.CatchAll})
	}
	return show(cmd, v, "DOMAIN ACCOUNTS STATE CATCH-ALL", rows)
}
