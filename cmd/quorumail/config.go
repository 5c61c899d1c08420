package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/config"
)

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "The node's configuration file"}
	check := &cobra.Command{Use: "check [FILE]", Short: "Say what is wrong in a configuration, and what would be right", Args: cobra.MaximumNArgs(1),
		Long: "Reads a configuration and looks at what it names on this machine: the certificate, the data folder, the ports. It changes nothing, and its exit\ncode is 0 when a node could start.",
		Example: `  quorumail config check
  quorumail config check ./node.toml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _ := cmd.Flags().GetString("config")
			if len(args) == 1 {
				path = args[0]
			}
			if err := config.Check(path, time.Now()); err != nil {
				return explainMissing(path, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: good\n", path)
			return nil
		}}
	show := &cobra.Command{Use: "show", Short: "Print the configuration as it is in force, or with --defaults every key with what it means", Args: cobra.NoArgs,
		Example: `  quorumail config show
  quorumail config show --defaults > node.toml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if defaults, _ := cmd.Flags().GetBool("defaults"); defaults {
				_, err := fmt.Fprint(cmd.OutOrStdout(), config.Defaults())
				return err
			}
			path, _ := cmd.Flags().GetString("config")
			text, err := config.InForce(path)
			if err != nil {
				return explainMissing(path, err)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		}}
	show.Flags().Bool("defaults", false, "print every key with its default and what it means")
	c.AddCommand(check, show)
	return c
}
