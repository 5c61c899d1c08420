package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
)

// aliasWords are what differs between the two: both send an address's mail to others, but a group is kept and listed as one.
type aliasWords struct{ short, example string }

var aliasKinds = map[string]aliasWords{
	"alias": {"Aliases: further addresses of an account, or of somebody elsewhere", "  quorumail alias add info@example.org an@example.org\n  quorumail alias set info@example.org binh@example.org"},
	"group": {"Groups: addresses whose mail every member gets", "  quorumail group add team@example.org an@example.org binh@example.org\n  quorumail group set team@example.org --add chi@example.org --remove an@example.org"},
}

// aliasCommand is for aliases and for groups.
func aliasCommand(kind string) *cobra.Command {
	c := &cobra.Command{Use: kind, Short: aliasKinds[kind].short, Example: aliasKinds[kind].example}
	add := &cobra.Command{Use: "add ADDRESS TARGET...", Short: "Make one", Args: cobra.MinimumNArgs(2), Example: aliasKinds[kind].example, RunE: changeAlias(kind+".add", "made")}
	set := &cobra.Command{Use: "set ADDRESS [TARGET...]", Short: "Change one: targets on the command line replace all that it has", Args: cobra.MinimumNArgs(1), Example: aliasKinds[kind].example,
		RunE: func(cmd *cobra.Command, args []string) error {
			f := cmd.Flags()
			if len(args) == 1 && !f.Changed("add") && !f.Changed("remove") && !f.Changed("description") {
				return usageError{fmt.Errorf("say what to change: name the targets, or use --add, --remove or --description")}
			}
			return changeAlias(kind+".set", "changed")(cmd, args)
		}}
	set.Flags().StringSlice("add", nil, "add this target, and leave the others")
	set.Flags().StringSlice("remove", nil, "remove this target, and leave the others")
	for _, cmd := range []*cobra.Command{add, set} {
		cmd.Flags().String("description", "", "what it is for")
	}
	remove := withYes(&cobra.Command{Use: "remove ADDRESS", Short: "Remove one", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if err := confirm(cmd, fmt.Sprintf("Mail for %s will be refused", args[0])); err != nil {
			return err
		}
		return changeAlias(kind+".remove", "removed")(cmd, args)
	}})
	c.AddCommand(add, set, remove,
		withJSON(&cobra.Command{Use: "list", Short: "List them", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := call[[]admin.Alias](cmd, kind+".list", admin.Empty{})
			if err != nil {
				return err
			}
			return showAliases(cmd, list, list)
		}}),
		withJSON(&cobra.Command{Use: "show ADDRESS", Short: "Show one", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			a, err := call[admin.Alias](cmd, kind+".show", admin.AliasRequest{Address: args[0]})
			if err != nil {
				return err
			}
			return showAliases(cmd, a, []admin.Alias{a})
		}}))
	return c
}

func changeAlias(method, done string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		r := admin.AliasRequest{Address: args[0], Targets: args[1:]}
		f := cmd.Flags()
		if f.Changed("description") {
			text, _ := f.GetString("description")
			r.Description = &text
		}
		if f.Lookup("add") != nil {
			r.Add, _ = f.GetStringSlice("add")
			r.Remove, _ = f.GetStringSlice("remove")
		}
		made, err := call[admin.Alias](cmd, method, r)
		if err != nil {
			return err
		}
		say(cmd, "%s: %s", args[0], done)
		if len(made.Elsewhere) > 0 { // a domain that is mistyped looks like another system
			say(cmd, "passes mail on to other systems: %s", strings.Join(made.Elsewhere, ", "))
		}
		return nil
	}
}

func showAliases(cmd *cobra.Command, v any, list []admin.Alias) error {
	var rows [][]string
	for _, a := range list {
		rows = append(rows, []string{a.Address, strings.Join(a.Targets, ","), a.Description})
	}
	return show(cmd, v, "ADDRESS TARGETS DESCRIPTION", rows)
}
