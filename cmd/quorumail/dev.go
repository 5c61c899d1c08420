package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/ops/dev"
)

func devCommand() *cobra.Command {
	o, also := dev.Options{}, ""
	c := &cobra.Command{Use: "dev", Short: "Run a whole cluster on this machine, to try it", Args: cobra.NoArgs,
		Long: "Runs a cluster of several nodes on this machine, each a process of its own, on loopback only. The first start makes a domain and two accounts with\nrandom passwords and delivers a few messages; later ones find it all again. The nodes end with this command, however it ends.",
		Example: `  quorumail dev
  quorumail dev --nodes 3 --dir /tmp/try --accounts 8 --json
  quorumail dev restart n2 --dir /tmp/try`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if !cmd.Flags().Changed("nodes") {
				o.Nodes = 0
			}
			if o.Bin, err = ownFile(); err != nil {
				return err
			}
			if also != "" {
				raw, err := os.ReadFile(also)
				if err != nil {
					return fmt.Errorf("read what is also in the configuration: %w", err)
				}
				o.Also = "\n" + string(raw)
			}
			o.Out, o.Err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return dev.Run(cmd.Context(), o)
		}}
	c.Flags().IntVar(&o.Nodes, "nodes", dev.DefaultNodes, "how many nodes, 1 to 9; a folder that holds a cluster keeps its number")
	c.PersistentFlags().StringVar(&o.Dir, "dir", ".quorumail-dev", "folder for everything")
	c.Flags().IntVar(&o.Accounts, "accounts", 0, "further accounts u000@example.test and so on, all with one password")
	c.Flags().StringVar(&also, "also", "", "file with further configuration of each node, such as name servers")
	c.Flags().BoolVar(&o.JSON, "json", false, "print one JSON object on one line once the cluster serves, and nothing else")
	c.AddCommand(&cobra.Command{Use: "restart NODE", Short: "Start a node of a running dev cluster again that was killed", Args: cobra.ExactArgs(1),
		Example: "  quorumail dev restart n2 --dir /tmp/try",
		RunE: func(cmd *cobra.Command, args []string) error {
			bin, err := ownFile()
			if err != nil {
				return err
			}
			return dev.Restart(cmd.Context(), o.Dir, args[0], bin, cmd.OutOrStdout())
		}})
	return c
}

func ownFile() (string, error) {
	bin, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program's own file: %w", err)
	}
	return bin, nil
}

// devFlags are what "dev" tells the nodes that it starts.
func devFlags(serve *cobra.Command) {
	serve.Flags().String("dev-lock", "", "end when whoever holds this file locked ends")
	_ = serve.Flags().MarkHidden("dev-lock") // fails only for a flag that is not there
}

// prepare checks what the configuration names on this machine before anything is opened, and makes the context that ends the node.
func prepare(cmd *cobra.Command) (context.Context, error) {
	path, _ := cmd.Flags().GetString("config")
	if err := config.CheckFiles(path); err != nil {
		return nil, err
	}
	lock, _ := cmd.Flags().GetString("dev-lock")
	if lock == "" {
		return cmd.Context(), nil
	}
	return dev.Follow(cmd.Context(), lock, func() { os.Exit(exitFailed) })
}
