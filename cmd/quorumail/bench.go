package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/bench"
)

// benchCommand measures a cluster with one account, whose password is asked for.
func benchCommand() *cobra.Command {
	o := bench.Options{}
	c := withPassword(withJSON(&cobra.Command{Use: "bench ACCOUNT", Short: "Send messages, wait until each is visible at another node, and print how that went", Args: cobra.ExactArgs(1),
		Long: "Sends messages to ACCOUNT at the nodes of --smtp, watches its INBOX at the nodes of --imap, and prints rates and latencies.\nThe messages stay in the INBOX. The account's password comes from a prompt or from standard input.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(o.SMTP) == 0 || len(o.IMAP) == 0 || o.Clients < 1 || o.Messages < o.Clients || o.SizeBytes < 256 {
				return usageError{errors.New("name nodes with --smtp and --imap, at least one client, as many messages, and 256 bytes")}
			}
			password, err := knownPassword(cmd)
			if err != nil {
				return err
			}
			o.Accounts = []bench.Account{{Address: args[0], Password: password}}
			if o.Spent, err = spentBy(cmd); err != nil {
				return err
			}
			r, err := bench.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			return printBench(cmd, r)
		}}))
	c.Flags().StringSliceVar(&o.SMTP, "smtp", nil, "where to send: host:port, several with commas")
	c.Flags().StringSliceVar(&o.IMAP, "imap", nil, "where to watch: host:port, several with commas")
	c.Flags().IntVar(&o.Clients, "clients", 16, "how many send at once")
	c.Flags().IntVar(&o.Messages, "messages", 2000, "how many messages in all")
	c.Flags().IntVar(&o.SizeBytes, "bytes", 20<<10, "how large each is")
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "of the bodies")
	return c
}

// spentBy asks the node of this machine what all nodes have used; nil when there is no such node.
func spentBy(cmd *cobra.Command) (func(context.Context) (bench.Spent, error), error) {
	c, err := client(cmd)
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "Processor time and bytes written are not told: %v\n", err)
		return nil, nil
	}
	return func(ctx context.Context) (s bench.Spent, err error) {
		return s, c.Call(ctx, "spent", admin.Empty{}, &s)
	}, nil
}

func printBench(cmd *cobra.Command, r bench.Result) error {
	rounded := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	return show(cmd, r, "CLIENTS BYTES COMPRESSED-BYTES MESSAGES ZSTD-RATIO DELIVERED/S ACK-P50-MS ACK-P99-MS VISIBLE-P50-MS VISIBLE-P99-MS CPU-MS/MSG WRITTEN-BYTES/MSG", [][]string{{strconv.Itoa(r.Clients), strconv.Itoa(r.SizeBytes),
		strconv.Itoa(r.CompressedBytes), strconv.Itoa(r.Messages), fmt.Sprintf("%.2f", r.Ratio), rounded(r.PerSecond), rounded(r.AckP50Ms), rounded(r.AckP99Ms), rounded(r.VisibleP50Ms), rounded(r.VisibleP99Ms), fmt.Sprintf("%.2f", r.CPUMsPerMessage), strconv.FormatInt(r.WrittenPer, 10)}})
}
