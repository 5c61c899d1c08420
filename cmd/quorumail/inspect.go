package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/ops/dev"
)

func devCommand() *cobra.Command {
	o := dev.Options{}
	c := &cobra.Command{Use: "dev", Short: "Run a whole cluster on this machine, to try it", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		var err error
		if o.Bin, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program's own file: %w", err)
		}
		o.Out, o.Err = cmd.OutOrStdout(), cmd.ErrOrStderr()
		return dev.Run(cmd.Context(), o)
	}}
	c.Flags().IntVar(&o.Nodes, "nodes", 3, "how many nodes")
	c.PersistentFlags().StringVar(&o.Dir, "dir", ".quorumail-dev", "folder for everything")
	c.Flags().IntVar(&o.Accounts, "accounts", 0, "further accounts u000@example.test and so on")
	c.Flags().BoolVar(&o.JSON, "json", false, "print one JSON object on one line once the cluster serves")
	c.AddCommand(&cobra.Command{Use: "restart NODE", Short: "Start a node again that was killed", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		bin, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program's own file: %w", err)
		}
		return dev.Restart(cmd.Context(), o.Dir, args[0], bin, cmd.OutOrStdout())
	}})
	return c
}

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "The node's configuration file"}
	c.AddCommand(&cobra.Command{Use: "check [FILE]", Short: "Say what is wrong in a configuration", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		path, _ := cmd.Flags().GetString("config")
		if len(args) == 1 {
			path = args[0]
		}
		if _, err := config.Load(path); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: good\n", path)
		return nil
	}})
	showCmd := &cobra.Command{Use: "show", Short: "Print the configuration", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if defaults, _ := cmd.Flags().GetBool("defaults"); defaults {
			fmt.Fprint(cmd.OutOrStdout(), config.Defaults())
			return nil
		}
		path, _ := cmd.Flags().GetString("config")
		raw, err := os.ReadFile(filepath.Clean(path))
		if err != nil {
			return fmt.Errorf("read the configuration: %w", err)
		}
		_, err = cmd.OutOrStdout().Write(raw)
		return err
	}}
	showCmd.Flags().Bool("defaults", false, "print every key with its default and what it means")
	c.AddCommand(showCmd)
	return c
}

func statusCommand() *cobra.Command {
	return withJSON(&cobra.Command{Use: "status", Short: "How the cluster is, as this node sees it", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		st, err := call[admin.Status](cmd, "status", admin.Empty{})
		if err != nil {
			return err
		}
		if asJSON, _ := cmd.Flags().GetBool("json"); !asJSON {
			ready := "ready"
			if !st.Ready {
				ready = "not ready: " + st.NotReady
			}
			leader := st.Leader
			if leader == "" {
				leader = "nobody"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is %s; %s leads in term %d; %d applied of %d committed; bodies to fetch: %d; %s\n\n", st.Name, st.State, leader, st.Term, st.Applied, st.Commit, st.Missing, ready)
		}
		var rows [][]string
		for _, m := range st.Members {
			rows = append(rows, []string{m.Name, m.ID, m.Address, strconv.FormatBool(m.Voter), strconv.FormatBool(m.Alive)})
		}
		return show(cmd, st, "NODE ID ADDRESS VOTES ALIVE", rows)
	}})
}

func inviteCommand() *cobra.Command {
	c := &cobra.Command{Use: "invite", Short: "Make a token with which one new node may join", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		minutes, _ := cmd.Flags().GetInt("minutes")
		res, err := call[admin.InviteResponse](cmd, "invite", admin.InviteRequest{ValidMinutes: minutes})
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), res.Token)
		return nil
	}}
	c.Flags().Int("minutes", 60, "how long the token is good for")
	return c
}

func nodeCommand() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "Members of the cluster"}
	c.AddCommand(&cobra.Command{Use: "remove ID", Short: "Remove a node for ever, such as one whose disk is lost; its replacement joins under a new id", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := call[admin.Empty](cmd, "node.remove", admin.NodeRequest{ID: args[0]})
			return err
		}})
	return c
}

func adminCommand() *cobra.Command {
	c := &cobra.Command{Use: "admin", Short: "Looking inside"}
	c.AddCommand(withJSON(&cobra.Command{Use: "state-hash", Short: "The digest of the replicated state; nodes at the same index must agree", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		h, err := call[admin.StateHash](cmd, "state-hash", admin.Empty{})
		if err != nil {
			return err
		}
		return show(cmd, h, "INDEX HASH", [][]string{{strconv.FormatUint(h.Index, 10), h.Hash}})
	}}))
	c.AddCommand(profileCommand(), spentCommand())
	return c
}

func checkCommand() *cobra.Command {
	return &cobra.Command{Use: "check", Short: "Verify every invariant of this node's state", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if _, err := call[admin.Empty](cmd, "check", admin.Empty{}); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), "every invariant holds")
		return nil
	}}
}
