package main

import (
	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
)

func profileCommand() *cobra.Command {
	c := &cobra.Command{Use: "profile KIND", Short: "Write a profile of the node's process (cpu, heap, allocs, goroutine, mutex, block) to standard output, for go tool pprof",
		Args: cobra.ExactArgs(1), Example: "  quorumail admin profile cpu --seconds 10 >cpu.pprof", RunE: func(cmd *cobra.Command, args []string) error {
			seconds, _ := cmd.Flags().GetInt("seconds")
			p, err := call[admin.Profile](cmd, "profile", admin.ProfileRequest{Kind: args[0], Seconds: seconds})
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(p.Data)
			return err
		}}
	c.Flags().Int("seconds", 10, "how long a cpu profile takes")
	return c
}
