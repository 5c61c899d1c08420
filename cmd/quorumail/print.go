package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/text/width"
)

// withJSON adds the --json flag of everything that prints facts.
func withJSON(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Bool("json", false, "print JSON instead of a table")
	return cmd
}

func wantsJSON(cmd *cobra.Command) bool {
	asJSON, _ := cmd.Flags().GetBool("json")
	return asJSON
}

// show prints v as JSON when --json is set, else the rows as a table.
func show(cmd *cobra.Command, v any, header string, rows [][]string) error {
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), v)
	}
	return printTable(cmd.OutOrStdout(), append([][]string{strings.Fields(header)}, rows...))
}

// showFields is show for one thing: a line for each fact, "" for what need not be said.
func showFields(cmd *cobra.Command, v any, facts [][]string) error {
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), v)
	}
	var rows [][]string
	for _, f := range facts {
		if f[1] != "" {
			rows = append(rows, []string{f[0] + ":", f[1]})
		}
	}
	return printTable(cmd.OutOrStdout(), rows)
}

func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false) // what is printed is not HTML, and "<" shall stay readable
	return enc.Encode(v)
}

// printTable aligns columns by what the cells take on a screen; the last one is not padded.
func printTable(out io.Writer, rows [][]string) error { return printAligned(out, rows, new([]int)) }

// printAligned is printTable for a table that comes in pieces: no column is narrower than in the pieces before.
func printAligned(out io.Writer, rows [][]string, columns *[]int) error {
	widths := *columns
	for _, r := range rows {
		for i, cell := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], screenWidth(cell))
		}
	}
	*columns = widths
	var b strings.Builder
	for _, r := range rows {
		line := ""
		for i, cell := range r {
			line += cell + strings.Repeat(" ", widths[i]-screenWidth(cell)+2)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// screenWidth is how many columns a text takes on a terminal (Unicode Standard Annex 11).
func screenWidth(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Cc): // drawn over the letter before, or not at all
		case isWide(r):
			n += 2
		default:
			n++
		}
	}
	return n
}

func isWide(r rune) bool {
	k := width.LookupRune(r).Kind()
	return k == width.EastAsianWide || k == width.EastAsianFullwidth
}

// say prints one line for people; with --json there is none, for scripts go by the exit code.
func say(cmd *cobra.Command, format string, args ...any) {
	if !wantsJSON(cmd) {
		fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...)
	}
}
