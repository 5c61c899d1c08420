package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/jepsen/checker"
	"github.com/quorumail/quorumail/jepsen/history"
)

// Names in the folder of a run.
const (
	historyName = "history.jsonl"
	resultsName = "results.json"
	pageName    = "report.html"
)

// version asks the program what it is.
func version(ctx context.Context, bin string) string {
	raw, err := exec.CommandContext(ctx, bin, "--version").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(raw))
}

func reportCommand() *cobra.Command {
	var limit time.Duration
	c := &cobra.Command{Use: "report FOLDER", Short: "Judge the history of a run again, and write its page anew", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		h, err := history.Load(filepath.Join(args[0], historyName))
		if err != nil {
			return err
		}
		return verdict(report(cmd.OutOrStdout(), h, args[0], limit))
	}}
	c.Flags().DurationVar(&limit, "linearizable-time", time.Minute, "how long the checker of linearizability may think")
	return c
}

func replayCommand() *cobra.Command {
	var o options
	c := &cobra.Command{Use: "replay FOLDER", Short: "Repeat a run with the seed, workloads and faults of its history", Args: cobra.ExactArgs(1),
		Long: "Repeat a run with the seed, workloads, faults and times of its history. What is random in clients and faults is the same again; how threads and packets\nmeet is not, so a rare fault may need several tries.",
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := history.Load(filepath.Join(args[0], historyName))
			if err != nil {
				return err
			}
			again, err := again(h.Run.Args, o)
			if err != nil {
				return err
			}
			return run(cmd.Context(), cmd, again)
		}}
	c.Flags().StringVar(&o.bin, "bin", "bin/quorumail", "the program under test")
	c.Flags().StringVar(&o.oldBin, "old-bin", "", "an earlier version of it, for upgrades")
	c.Flags().StringVar(&o.out, "out", "", "folder for history, report and logs (default: a new one)")
	c.Flags().BoolVar(&o.verbose, "verbose", false, "log every fault and every step")
	return c
}

// report judges a history, writes results and page into dir, and prints the table.
func report(out io.Writer, h *history.History, dir string, limit time.Duration) ([]checker.Result, error) {
	results := checker.All(h, checker.Options{Porcupine: limit})
	raw, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return nil, err
	}
	page, err := os.Create(filepath.Join(dir, pageName))
	if err != nil {
		return nil, err
	}
	err = errors.Join(history.Page(page, h, checker.Report(results, checker.Availability(h))), page.Close(), os.WriteFile(filepath.Join(dir, resultsName), raw, 0o644))
	printTable(out, h, results)
	return results, err
}

// verdict turns results, and what went wrong with the run itself, into the exit code. A broken promise counts more than a run that ended early.
func verdict(results []checker.Result, failed error) error {
	var bad, unsure []string
	for _, r := range results {
		switch r.Verdict {
		case checker.Failed:
			bad = append(bad, r.Checker)
		case checker.Unsure:
			unsure = append(unsure, r.Checker+" ("+r.Why+")")
		}
	}
	switch {
	case len(bad) > 0:
		return exitError{1, errors.Join(fmt.Errorf("promises were broken: %s", strings.Join(bad, ", ")), failed)}
	case failed != nil:
		return exitError{3, failed}
	case len(unsure) > 0:
		return exitError{3, fmt.Errorf("it cannot be told: %s", strings.Join(unsure, ", "))}
	}
	return nil
}
