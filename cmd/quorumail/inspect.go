package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
)

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
			fmt.Fprintf(cmd.OutOrStdout(), "%s is %s; %s leads in term %d; %d applied of %d committed; bodies to fetch: %d; %s\nqueues: %s\n\n", st.Name, st.State, leader, st.Term, st.Applied, st.Commit, st.Missing, ready, queueSummary(st.Queues))
			for _, w := range st.Warnings {
				fmt.Fprintf(cmd.OutOrStdout(), "warning: %s\n\n", w)
			}
		}
		var rows [][]string
		for _, m := range st.Members {
			rows = append(rows, memberRow(m))
		}
		return show(cmd, st, "NODE ID ADDRESS VOTES STATE VERSION LAG LOAD HEALTH", rows)
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

func adminCommand() *cobra.Command {
	c := &cobra.Command{Use: "admin", Short: "Looking inside"}
	c.AddCommand(stateHashCommand(), logLevelCommand(), profileCommand(), spentCommand())
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
