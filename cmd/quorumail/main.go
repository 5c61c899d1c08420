package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/store/broken"
)

// version is what "quorumail --version" says; a release build sets it with -ldflags.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "quorumail:", err)
		stop()
		os.Exit(exitCode(err))
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "quorumail",
		Short:         "A mail server of several nodes, any of which may die at any moment",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       versionText(),
	}
	root.PersistentFlags().StringP("config", "c", "/etc/quorumail/node.toml", "this node's configuration file")
	root.AddCommand(serveCommand(), devCommand(), configCommand(), statusCommand(), inviteCommand(), nodeCommand(), clusterCommand(), adminCommand(),
		accountCommand(), domainCommand(), aliasCommand("alias"), aliasCommand("group"), setCommand(), queueCommand(), traceCommand(), policyCommand(), routeCommand(), dkimCommand(), checkCommand(), benchCommand(),
		backupCommand(), restoreCommand())
	checkUsage(root)
	return root
}

// versionText is the version, with what a deliberately broken build has to say.
func versionText() string {
	notice, err := broken.Notice()
	switch {
	case err != nil:
		return version + "\n" + err.Error()
	case notice != "":
		return version + "\n" + notice
	}
	return version
}

func loadConfig(cmd *cobra.Command) (*config.Config, error) {
	path, err := cmd.Flags().GetString("config")
	if err != nil {
		return nil, err
	}
	c, err := config.Load(path)
	return c, explainMissing(path, err)
}

// explainMissing says what to do when there is no configuration.
func explainMissing(path string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no configuration at %s: name one with --config, or begin with: quorumail config show --defaults > node.toml", path)
	}
	return err
}

// client makes a client of the node whose configuration --config names.
func client(cmd *cobra.Command) (*admin.Client, error) {
	c, err := loadConfig(cmd)
	if err != nil {
		return nil, err
	}
	if c.Listeners.Admin == "" {
		return nil, errors.New("the node has no admin listener: set listeners.admin in its configuration")
	}
	return admin.NewClient(c.Listeners.Admin, c.DataDir), nil
}

// call asks the node of --config one thing.
func call[Res any](cmd *cobra.Command, method string, req any) (Res, error) {
	var res Res
	c, err := client(cmd)
	if err != nil {
		return res, err
	}
	return res, c.Call(cmd.Context(), method, req, &res)
}
