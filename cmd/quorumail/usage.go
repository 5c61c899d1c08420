package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/store"
)

// Exit codes. A node that stops itself because it cannot go on safely exits with 3.
const (
	exitFailed   = 1  // it was refused or went wrong
	exitUsage    = 2  // the command line cannot be understood
	exitTryAgain = 75 // the cluster cannot be reached or has no majority, or the outcome is unknown (EX_TEMPFAIL of sysexits.h)
)

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrUnknownOutcome):
		return exitTryAgain
	}
	return exitFailed
}

// checkUsage makes every mistake in a command line a usageError that says how it would be right.
func checkUsage(root *cobra.Command) {
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
	})
	for _, cmd := range root.Commands() {
		checkUsage(cmd)
	}
	if root.HasSubCommands() && !root.Runnable() {
		root.Args, root.RunE = cobra.ArbitraryArgs, chooseCommand
		return
	}
	if check := root.Args; check != nil {
		root.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) != nil {
				return usageError{fmt.Errorf("it is: %s (see %s --help)", cmd.UseLine(), cmd.CommandPath())}
			}
			return nil
		}
	}
}

// chooseCommand is what a command does that is there only for the ones below it.
func chooseCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	text := "there are " + strings.Join(names, ", ")
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text = fmt.Sprintf("did you mean %q?", near[0])
	}
	return usageError{fmt.Errorf("there is no command %q in %s; %s", args[0], cmd.CommandPath(), text)}
}
