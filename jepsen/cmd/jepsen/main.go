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
	context.AfterFunc(ctx, stop) // the first signal ends the run in order, which may take minutes; a second one at once, and the next run tidies up
	err := command().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "jepsen:", err)
	}
	os.Exit(exitCode(err))
}

// command is the whole program.
func command() *cobra.Command {
	root := &cobra.Command{Use: "jepsen", Short: "Break a Quorumail cluster and see whether it keeps its promises", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(runCommand(), replayCommand(), reportCommand(), regressCommand(), listCommand())
	return root
}

// exitCode is what the program ends with: see the package's comment.
func exitCode(err error) int {
	var e exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.code
	}
	return 2
}

func listCommand() *cobra.Command {
	var example bool
	c := &cobra.Command{Use: "list", Short: "List workloads and faults", Args: cobra.NoArgs, Run: func(cmd *cobra.Command, _ []string) {
		out := cmd.OutOrStdout()
		if example {
			fmt.Fprint(out, ownExample)
			return
		}
		var names []string
		for _, w := range workload.All() {
			names = append(names, w.Name())
		}
		faults, groups := nemesis.Names()
		fmt.Fprintf(out, "workloads:        %s\ngroups of faults: %s\nfaults:\n  %s\n", strings.Join(names, ", "), strings.Join(groups, ", "), strings.Join(faults, "\n  "))
	}}
	c.Flags().BoolVar(&example, "cluster-example", false, "show an example of the file that run --cluster reads")
	return c
}
