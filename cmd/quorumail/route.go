package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/queue/route"
)

func routeCommand() *cobra.Command {
	c := &cobra.Command{Use: "route", Short: "Routes: where mail for other domains goes, if not where their MX says"}
	c.AddCommand(routeListCommand(), routeSetCommand(), routeRemoveCommand())
	return c
}

func routeSetCommand() *cobra.Command {
	c := withPassword(&cobra.Command{Use: "set DOMAIN", Short: "Make a domain's route, in place of one that it has", Args: cobra.ExactArgs(1),
		Long: "DOMAIN is example.org; *.example.org, for all domains below it; or \"*\", for all that have none of their own. The longest that fits counts. The password\n" +
			"of a smarthost is asked for, or read from the first line of standard input; it is kept encrypted and never shown.\n" +
			"What waits already takes the new way when it is tried next; \"quorumail queue retry\" does not wait for that.",
		Example: `  quorumail route set '*' --smarthost mail.isp.test:587 --tls verify --user example --password-stdin < password-file
  quorumail route set partner.example --mx --tls verify
  quorumail route set '*.invalid' --reject "There is no such domain"
  quorumail route set test.example --discard`,
		RunE: runRouteSet})
	f := c.Flags()
	f.String("smarthost", "", "hand the mail to this host, which passes it on: HOST[:PORT], or several: HOST,HOST[:PORT]")
	f.Bool("mx", false, "send it where the MX says, as without a route; with --tls, or as an exception from a wider route")
	f.Bool("discard", false, "take it, and throw it away")
	f.String("reject", "", "refuse it with this text")
	f.String("tls", "", "none, may (when offered), encrypt, verify (and check the certificate) or implicit (from the first byte)")
	f.String("user", "", "log in at the smarthost as this user")
	return c
}

func runRouteSet(cmd *cobra.Command, args []string) error {
	r := admin.RouteRequest{Domain: args[0], Who: who()}
	if err := routeKind(cmd, &r); err != nil {
		return err
	}
	f := cmd.Flags()
	r.TLS, _ = f.GetString("tls")
	r.User, _ = f.GetString("user")
	if stdin, _ := f.GetBool("password-stdin"); stdin && r.User == "" {
		return usageError{fmt.Errorf("--password-stdin goes with --user")}
	}
	if r.User != "" {
		var err error
		if r.Password, err = knownPassword(cmd); err != nil {
			return err
		}
	}
	if _, err := call[admin.Empty](cmd, "route.set", r); err != nil {
		return err
	}
	say(cmd, "%s: set", args[0])
	return nil
}

// routeKind is the one of the flags that says where the mail goes.
func routeKind(cmd *cobra.Command, r *admin.RouteRequest) error {
	f := cmd.Flags()
	n := 0
	for name, kind := range map[string]route.Kind{"smarthost": route.Smarthost, "mx": route.ByMX, "discard": route.Discard, "reject": route.Reject} {
		if f.Changed(name) {
			n++
			r.Kind = string(kind)
		}
	}
	if n != 1 {
		return usageError{fmt.Errorf("say where the mail goes, with one of --smarthost, --mx, --discard and --reject")}
	}
	r.Hosts, _ = f.GetString("smarthost")
	r.Text, _ = f.GetString("reject")
	return nil
}

func routeRemoveCommand() *cobra.Command {
	return withYes(&cobra.Command{Use: "remove DOMAIN", Short: "Remove a route: the mail goes where a wider route or the MX says", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if err := confirm(cmd, fmt.Sprintf("Mail for %s will go where a wider route or its MX says", args[0])); err != nil {
			return err
		}
		if _, err := call[admin.Empty](cmd, "route.remove", admin.RouteRequest{Domain: args[0], Who: who()}); err != nil {
			return err
		}
		say(cmd, "%s: removed", args[0])
		return nil
	}})
}

func routeListCommand() *cobra.Command {
	return withJSON(&cobra.Command{Use: "list", Short: "List the routes", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		list, err := call[[]admin.Route](cmd, "route.list", admin.Empty{})
		if err != nil {
			return err
		}
		var rows [][]string
		for _, r := range list {
			login := r.User
			if r.Password {
				login += " (with a password)"
			}
			rows = append(rows, []string{r.Domain, r.Kind, r.TLS, r.Hosts, login, day(r.Changed), r.Text})
		}
		return show(cmd, list, "DOMAIN KIND TLS HOSTS LOGIN CHANGED TEXT", rows)
	}})
}
