package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
)

func domainCommand() *cobra.Command {
	c := &cobra.Command{Use: "domain", Short: "Domains: whose mail is taken here"}
	change := func(method string) func(*cobra.Command, []string) error {
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
			_, err := call[admin.Empty](cmd, method, r)
			return err
		}
	}
	add := &cobra.Command{Use: "add DOMAIN", Short: "Take a domain's mail", Args: cobra.ExactArgs(1), RunE: change("domain.add")}
	set := &cobra.Command{Use: "set DOMAIN", Short: "Change a domain", Args: cobra.ExactArgs(1), RunE: change("domain.set")}
	for _, cmd := range []*cobra.Command{add, set} {
		cmd.Flags().String("catch-all", "", "address that gets mail for unknown recipients; empty for none")
		cmd.Flags().Bool("suspended", false, "refuse its mail for now")
	}
	listing := func(cmd *cobra.Command, v any, list []admin.Domain) error {
		var rows [][]string
		for _, d := range list {
			rows = append(rows, []string{d.Name, strconv.Itoa(d.Accounts), strconv.FormatBool(d.Suspended), d.CatchAll})
		}
		return show(cmd, v, "DOMAIN ACCOUNTS SUSPENDED CATCH-ALL", rows)
	}
	c.AddCommand(add, set,
		withJSON(&cobra.Command{Use: "list", Short: "List the domains", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := call[[]admin.Domain](cmd, "domain.list", admin.Empty{})
			if err != nil {
				return err
			}
			return listing(cmd, list, list)
		}}),
		withJSON(&cobra.Command{Use: "show DOMAIN", Short: "Show one domain", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			d, err := call[admin.Domain](cmd, "domain.show", admin.DomainRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return listing(cmd, d, []admin.Domain{d})
		}}),
		&cobra.Command{Use: "remove DOMAIN", Short: "Take its mail no longer; its accounts must be removed first", Args: cobra.ExactArgs(1), RunE: change("domain.remove")})
	return c
}

// aliasCommand is for aliases and for groups: both send an address's mail to others, but a group is listed as one.
func aliasCommand(kind string) *cobra.Command {
	about := map[string]string{"alias": "Aliases: further addresses of an account", "group": "Groups: addresses whose mail every member gets"}
	c := &cobra.Command{Use: kind, Short: about[kind]}
	change := func(method string) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, args []string) error {
			r := admin.AliasRequest{Address: args[0], Targets: args[1:]}
			if f := cmd.Flags().Lookup("description"); f != nil {
				r.Description = f.Value.String()
			}
			_, err := call[admin.Empty](cmd, method, r)
			return err
		}
	}
	add := &cobra.Command{Use: "add ADDRESS TARGET...", Short: "Make one", Args: cobra.MinimumNArgs(2), RunE: change(kind + ".add")}
	set := &cobra.Command{Use: "set ADDRESS TARGET...", Short: "Replace its targets", Args: cobra.MinimumNArgs(2), RunE: change(kind + ".set")}
	for _, cmd := range []*cobra.Command{add, set} {
		cmd.Flags().String("description", "", "what it is for")
	}
	listing := func(cmd *cobra.Command, v any, list []admin.Alias) error {
		var rows [][]string
		for _, a := range list {
			rows = append(rows, []string{a.Address, strings.Join(a.Targets, ","), a.Description})
		}
		return show(cmd, v, "ADDRESS TARGETS DESCRIPTION", rows)
	}
	c.AddCommand(add, set,
		withJSON(&cobra.Command{Use: "list", Short: "List them", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := call[[]admin.Alias](cmd, kind+".list", admin.Empty{})
			if err != nil {
				return err
			}
			return listing(cmd, list, list)
		}}),
		withJSON(&cobra.Command{Use: "show ADDRESS", Short: "Show one", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			a, err := call[admin.Alias](cmd, kind+".show", admin.AliasRequest{Address: args[0]})
			if err != nil {
				return err
			}
			return listing(cmd, a, []admin.Alias{a})
		}}),
		&cobra.Command{Use: "remove ADDRESS", Short: "Remove one", Args: cobra.ExactArgs(1), RunE: change(kind + ".remove")})
	return c
}
