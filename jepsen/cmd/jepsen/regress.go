package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/jepsen/regress"
)

func regressCommand() *cobra.Command {
	var o options
	var list bool
	c := &cobra.Command{Use: "regress [NAME]...", Short: "Do the runs that once showed a bug, and see that it is gone",
		Long: "Do the runs that once showed a bug, all of them or those that are named, and see that it is gone. With --bin and a program from before the fix the bug\nis there again: regress --list names the commits.",
		RunE: func(cmd *cobra.Command, names []string) error {
			entries, err := entriesOf(names)
			if err != nil {
				return err
			}
			if list {
				return listEntries(cmd.OutOrStdout(), entries)
			}
			return repeatAll(cmd.Context(), cmd.OutOrStdout(), entries, o)
		}}
	c.Flags().BoolVar(&list, "list", false, "only tell what they are")
	c.Flags().StringVar(&o.bin, "bin", "bin/quorumail", "the program under test")
	c.Flags().StringVar(&o.oldBin, "old-bin", "", "an earlier version of it, for upgrades")
	c.Flags().StringVar(&o.out, "out", "", "folder for a folder of each run (default: new ones under /tmp)")
	c.Flags().BoolVar(&o.verbose, "verbose", false, "log every fault and every step")
	return c
}

// entriesOf finds entries by their names; all of them when there is none.
func entriesOf(names []string) (out []regress.Entry, err error) {
	if len(names) == 0 {
		return regress.All(), nil
	}
	for _, name := range names {
		e, wrong := regress.ByName(name)
		out, err = append(out, e), errors.Join(err, wrong)
	}
	return out, err
}

func listEntries(w io.Writer, entries []regress.Entry) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "name\tshown by\tfixed by\twhat it was")
	for _, e := range entries {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", e.Name, e.Broken, e.Fixed, e.What)
	}
	return t.Flush()
}

// repeatAll does the runs of entries one after the other, all of them also when one fails.
func repeatAll(ctx context.Context, w io.Writer, entries []regress.Entry, now options) error {
	var bad, unsure []string
	for _, e := range entries {
		fmt.Fprintf(w, "\n%s (fixed by %s): %s\n  jepsen run %q\n", e.Name, e.Fixed, e.What, e.Args)
		err := repeat(ctx, w, e, now)
		switch {
		case ctx.Err() != nil:
			return exitError{3, errors.New("interrupted")}
		case exitCode(err) == 1:
			bad = append(bad, e.Name)
		case err != nil:
			unsure = append(unsure, e.Name)
		}
		if err != nil {
			fmt.Fprintln(w, err)
		}
	}
	switch {
	case len(bad) > 0:
		return exitError{1, fmt.Errorf("back again: %s", strings.Join(bad, ", "))}
	case len(unsure) > 0:
		return exitError{3, fmt.Errorf("it cannot be told of %s", strings.Join(unsure, ", "))}
	}
	return nil
}

// repeat does the run of one entry.
func repeat(ctx context.Context, w io.Writer, e regress.Entry, now options) error {
	if now.out != "" {
		now.out = filepath.Join(now.out, strings.ReplaceAll(e.Name, " ", "-"))
	}
	o, err := again(e.Args, now)
	if err != nil {
		return err
	}
	results, err := perform(ctx, w, o)
	if complaints := e.Judge(results); len(complaints) > 0 {
		return exitError{1, errors.Join(errors.New(strings.Join(complaints, "; ")), err)}
	}
	return err
}
