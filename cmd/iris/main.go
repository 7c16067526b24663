// Iris runs the node of a host and asks it how it is. "iris help" says how.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit statuses.
const (
	statusFailure = 1
	statusUsage   = 2
)

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	valid := false // flags, arguments and environment are as they should be
	root := newRoot()
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		err := fromEnvironment(cmd.Flags())
		valid = err == nil
		return err
	}
	root.SetArgs(legacy(args))
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ") // of joined errors
	var wrong usageError
	if valid && !errors.As(err, &wrong) {
		fmt.Fprintf(os.Stderr, "iris: %s\n", text)
		return statusFailure
	}
	if cmd.Name() == "help" {
		cmd = root // which lists the commands
	}
	fmt.Fprintf(os.Stderr, "iris: %s; see %q\n", text, cmd.CommandPath()+" --help")
	return statusUsage
}

// A usageError is wrong use of a command that shows only once it runs.
type usageError struct{ error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:     "iris",
		Example: "iris node --dev",
		Long: `Iris carries messages between programs that know each other by name only.
A node runs on the host, and programs attach to it.

Exit status: 0 success, 1 failure, 2 wrong use of the command.
Data goes to standard output, all else to standard error.

The flags of earlier nodes start a node too:
  iris -dev
  iris -port 55555 -net NAME -rsa FILE
       [-cpuprof FILE] [-heapprof FILE] [-blockprof FILE]`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
	}
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(cmd.OutOrStdout(), cmd) })
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) && len(unknown.GetSpecifiedShortnames()) > 1 {
			return fmt.Errorf("unknown flag -%s: flags begin with two dashes", unknown.GetSpecifiedShortnames())
		}
		return err
	})
	cobra.EnableCommandSorting = false
	root.AddCommand(newNodeCommand(), newStatusCommand(), newKeygenCommand(), newVersionCommand())
	root.SetHelpCommand(&cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Explain a command",
		Example: "iris help node",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil {
				err = noArgs(cmd, rest)
			}
			if err != nil {
				return usageError{err}
			}
			cmd.InitDefaultHelpFlag() // for the list of flags
			return cmd.Help()
		},
	})
	return root
}

// noArgs refuses arguments: those of the root are commands it does not have.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasParent() {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		return fmt.Errorf("unknown command %q (did you mean %q?)", args[0], like[0])
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// writeHelp writes the help of cmd. It begins with an example.
func writeHelp(w io.Writer, cmd *cobra.Command) {
	if cmd.HasExample() {
		for line := range strings.Lines(cmd.Example) {
			fmt.Fprintf(w, "  $ %s", line)
		}
		fmt.Fprint(w, "\n\n")
	}
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintln(w, strings.TrimSpace(text))
	if cmd.HasAvailableSubCommands() {
		fmt.Fprint(w, "\nCommands:\n")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() || c.Name() == "help" {
				fmt.Fprintf(w, "  %-12s%s\n", c.Name(), c.Short)
			}
		}
		fmt.Fprintf(w, "\n%q explains one.\n", cmd.CommandPath()+" COMMAND --help")
		return
	}
	fmt.Fprintf(w, "\nFlags:\n%s", cmd.LocalFlags().FlagUsages())
}
