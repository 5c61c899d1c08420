package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxLineBytes bounds what is read from standard input: the longest password and its line end.
const maxLineBytes = 4096

// withPassword adds the flag of everything that needs a password.
func withPassword(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Bool("password-stdin", false, "read the password from the first line of standard input, without a prompt")
	return cmd
}

// terminal is the standard input of cmd when a person sits there.
func terminal(cmd *cobra.Command) (fd int, ok bool) {
	f, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// newPassword takes a password from a prompt, twice, or from one line of standard input. A password never comes from the command line,
// where other users of the machine could read it.
func newPassword(cmd *cobra.Command) (string, error) {
	fd, ok := promptFor(cmd)
	if !ok {
		return readPassword(cmd)
	}
	first, err := prompt(cmd, fd, "New password: ")
	if err != nil {
		return "", err
	}
	second, err := prompt(cmd, fd, "Once more: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ: nothing was changed")
	}
	return first, nil
}

// knownPassword is newPassword for one that exists already, asked for once.
func knownPassword(cmd *cobra.Command) (string, error) {
	if fd, ok := promptFor(cmd); ok {
		return prompt(cmd, fd, "Password: ")
	}
	return readPassword(cmd)
}

func promptFor(cmd *cobra.Command) (fd int, ok bool) {
	if stdin, _ := cmd.Flags().GetBool("password-stdin"); stdin {
		return 0, false
	}
	return terminal(cmd)
}

func readPassword(cmd *cobra.Command) (string, error) {
	line, err := readLine(cmd.InOrStdin())
	if err != nil {
		return "", fmt.Errorf("read the password from standard input: %w", err)
	}
	if line == "" {
		return "", errors.New("standard input held no password: write it there as one line, or run the command at a terminal to be asked for it")
	}
	return line, nil
}

func readLine(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, maxLineBytes)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if len(line) == maxLineBytes {
		return "", fmt.Errorf("the line is longer than %d bytes", maxLineBytes)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func prompt(cmd *cobra.Command, fd int, text string) (string, error) {
	fmt.Fprint(cmd.ErrOrStderr(), text)
	raw, err := term.ReadPassword(fd)
	fmt.Fprintln(cmd.ErrOrStderr())
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(raw), nil
}

// withYes adds the flag of everything that destroys something.
func withYes(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolP("yes", "y", false, "do not ask whether you are sure")
	return cmd
}

// confirm asks a person whether to go on; what says what will happen. Without a person there has to be --yes.
func confirm(cmd *cobra.Command, what string) error {
	if yes, _ := cmd.Flags().GetBool("yes"); yes {
		return nil
	}
	if _, ok := terminal(cmd); !ok {
		return usageError{fmt.Errorf("%s: add --yes to do this without being asked", what)}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s. Type yes to go on: ", what)
	line, err := readLine(cmd.InOrStdin())
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if !strings.EqualFold(strings.TrimSpace(line), "yes") {
		return errors.New("nothing was changed")
	}
	return nil
}
