package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
)

// setCommand shows and changes the settings that all nodes share.
func setCommand() *cobra.Command {
	c := withJSON(&cobra.Command{Use: "set [NAME [VALUE]]", Short: "Show or change what the whole cluster shares", Args: cobra.MaximumNArgs(2),
		Long: "Without a name it lists all settings, with one it shows that setting, with a value it changes it: on all nodes, within a second, for good.\nSizes are written as 50MiB or 1GiB, times as 30s, 5m, 12h or 7d.",
		Example: `  quorumail set
  quorumail set account.quota_bytes
  quorumail set account.quota_bytes 5GiB
  quorumail set account.quota_bytes --reset
  quorumail set delivery.plus_separator ""`,
		RunE: runSet})
	c.Flags().Bool("reset", false, "give the setting its default again")
	return c
}

func runSet(cmd *cobra.Command, args []string) error {
	reset, _ := cmd.Flags().GetBool("reset")
	switch {
	case reset && len(args) != 1:
		return usageError{fmt.Errorf("--reset goes with one name and no value")}
	case len(args) == 2 || reset:
		r := admin.SettingRequest{Name: args[0], Reset: reset}
		if !reset {
			r.Value = args[1]
		}
		s, err := call[admin.Setting](cmd, "set", r)
		if err != nil {
			return err
		}
		if wantsJSON(cmd) {
			return printJSON(cmd.OutOrStdout(), s)
		}
		say(cmd, "%s = %s", s.Name, shown(s.Value))
		return nil
	}
	r := admin.SettingRequest{}
	if len(args) == 1 {
		r.Name = args[0]
	}
	list, err := call[[]admin.Setting](cmd, "settings", r)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		return showSetting(cmd, list[0])
	}
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{s.Name, shown(s.Value), shown(s.Default), s.Type, s.Doc})
	}
	return show(cmd, list, "NAME VALUE DEFAULT UNIT WHAT-IT-DOES", rows)
}

func showSetting(cmd *cobra.Command, s admin.Setting) error {
	return showFields(cmd, s, [][]string{{"name", s.Name}, {"value", shown(s.Value)}, {"default", shown(s.Default)}, {"unit", s.Type}, {"range", s.Range}, {"about", s.Doc}})
}

// shown makes an empty value visible.
func shown(value string) string {
	if value == "" {
		return `""`
	}
	return value
}
