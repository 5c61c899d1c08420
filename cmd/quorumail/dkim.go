package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
)

func dkimCommand() *cobra.Command {
	c := &cobra.Command{Use: "dkim", Short: "DKIM: keys with which a domain's mail is signed, and their records for the DNS",
		Long: "Each domain signs with a pair of keys, rsa-2048 and ed25519, which all nodes have; they are kept encrypted under the file secrets.key of the data\n" +
			"folders. What is printed is a piece of a zone file: paste it into the zone of the domain."}
	show := withJSON(&cobra.Command{Use: "show [DOMAIN]", Short: "Print the records that must stand in the DNS", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return callDKIM(cmd, "dkim.show", args)
	}})
	create := dkimChange("create DOMAIN", "dkim.create", "Make a domain's keys, and sign with them",
		"Mail is signed at once; until the records stand in the DNS, others take it as not signed. With --wait nothing is signed until \"dkim activate\".")
	rotate := dkimChange("rotate DOMAIN", "dkim.rotate", "Make new keys, and sign with these from now on",
		"The records of the former keys must stay in the DNS for 7 days more, for mail that they signed. With --wait the former keys go on to sign until\n\"dkim activate\": so there is time to put the new records into the DNS before.")
	for _, cmd := range []*cobra.Command{create, rotate} {
		cmd.Flags().Bool("wait", false, "do not sign with the new keys before \"dkim activate\"")
	}
	c.AddCommand(show, create, rotate, dkimChange("activate DOMAIN", "dkim.activate", "Sign with the newest keys from now on", "It ends the signing with all keys before them."), dkimRemoveCommand())
	return c
}

// dkimChange is a command that changes keys and prints them.
func dkimChange(use, method, short, long string) *cobra.Command {
	return withJSON(&cobra.Command{Use: use, Short: short, Long: short + ".\n\n" + long, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return callDKIM(cmd, method, args)
	}})
}

func callDKIM(cmd *cobra.Command, method string, args []string) error {
	r := admin.DKIMRequest{Who: who()}
	if len(args) > 0 {
		r.Domain = args[0]
	}
	r.Wait, _ = cmd.Flags().GetBool("wait")
	list, err := call[[]admin.DKIMKeys](cmd, method, r)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), list)
	}
	return printDKIM(cmd.OutOrStdout(), list, time.Now())
}

func dkimRemoveCommand() *cobra.Command {
	c := withYes(&cobra.Command{Use: "remove DOMAIN", Short: "Remove a domain's keys: its mail is no longer signed", Args: cobra.ExactArgs(1),
		Example: "  quorumail dkim remove example.org --keys qm202611a",
		RunE: func(cmd *cobra.Command, args []string) error {
			r := admin.DKIMRequest{Domain: args[0], Who: who()}
			r.Keys, _ = cmd.Flags().GetString("keys")
			what := fmt.Sprintf("All DKIM keys of %s will be lost, and its mail no longer signed", args[0])
			if r.Keys != "" {
				what = fmt.Sprintf("The DKIM keys %s of %s will be lost", r.Keys, args[0])
			}
			if err := confirm(cmd, what); err != nil {
				return err
			}
			if _, err := call[admin.Empty](cmd, "dkim.remove", r); err != nil {
				return err
			}
			if r.Keys != "" {
				say(cmd, "%s, keys %s: removed; if they signed, their records can go from the DNS in 7 days", args[0], r.Keys)
				return nil
			}
			say(cmd, "%s: removed; its records can go from the DNS in 7 days", args[0])
			return nil
		}})
	c.Flags().String("keys", "", "only the pair of this name")
	return c
}

// printDKIM prints a piece of a zone file, which says in comments what it is.
func printDKIM(out io.Writer, list []admin.DKIMKeys, now time.Time) error {
	for _, k := range list {
		if _, err := fmt.Fprintf(out, "; %s, keys %s, made %s: %s\n", k.Domain, k.Keys, day(k.Made), dkimState(k, now)); err != nil {
			return err
		}
		for _, r := range k.Records {
			if _, err := io.WriteString(out, r.Zone); err != nil {
				return err
			}
		}
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "; no domain has DKIM keys: make them with \"quorumail dkim create DOMAIN\"")
		return err
	}
	return nil
}

func dkimState(k admin.DKIMKeys, now time.Time) string {
	switch {
	case k.Trouble != "":
		return "CANNOT SIGN: " + k.Trouble
	case k.State == admin.DKIMWaits:
		return fmt.Sprintf("wait; sign with them by: quorumail dkim activate %s", k.Domain)
	case k.State == admin.DKIMSigns:
		return "sign"
	case now.Before(k.Until):
		return fmt.Sprintf("retired; keep these records until %s", day(k.Until))
	}
	return fmt.Sprintf("retired; remove these records, and then: quorumail dkim remove %s --keys %s", k.Domain, k.Keys)
}
