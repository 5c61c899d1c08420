package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/jepsen/nemesis"
	"github.com/quorumail/quorumail/jepsen/workload"
)

// exitError is an error with an exit code.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "jepsen", Short: "Break a Quorumail cluster and see whether it keeps its promises", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(runCommand(), replayCommand(), reportCommand(), listCommand())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "jepsen:", err)
	var e exitError
	if errors.As(err, &e) {
		os.Exit(e.code)
	}
	os.Exit(2)
}

func listCommand() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List workloads and faults", Args: cobra.NoArgs, Run: func(cmd *cobra.Command, _ []string) {
		out := cmd.OutOrStdout()
		var names []string
		for _, w := range workload.All() {
			names = append(names, w.Name())
		}
		faults, groups := nemesis.Names()
		fmt.Fprintf(out, "workloads:        %s\ngroups of faults: %s\nfaults:\n  %s\n", strings.Join(names, ", "), strings.Join(groups, ", "), strings.Join(faults, "\n  "))
	}}
}
