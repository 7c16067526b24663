// Iris runs the node of a host, asks it how it is, and is a program that
// attaches to it. "iris help" says how.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/project-iris/iris"
)

// Exit statuses.
const (
	statusFailure = 1
	statusUsage   = 2
	statusTimeout = 3
	statusFault   = 4
	statusNoNode  = 5
)

// exitHelp tells the exit statuses of all commands.
const exitHelp = `Exit status: 0 success, 1 failure, 2 wrong use of the command, 3 no answer in
time, 4 the member that was asked answered with a fault, 5 no node: none answers,
it lets us not in, or the connection to it was lost.
`

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	valid := false // flags, arguments and environment are as they should be
	root := newRoot()
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		err := settle(cmd.Flags())
		valid = err == nil
		return err
	}
	root.SetArgs(legacy(args))
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	if !valid {
		err = usageError{err}
	}
	status, hint := exitStatus(err), ""
	switch status {
	case statusUsage:
		if cmd.Name() == "help" {
			cmd = root // which lists the commands
		}
		hint = fmt.Sprintf("; see %q", cmd.CommandPath()+" --help")
	case statusTimeout:
		hint = `; "iris status" shows who is there, --timeout gives it longer`
	}
	fmt.Fprintf(os.Stderr, "iris: %s%s\n", errorText(err), hint)
	return status
}

// A usageError is wrong use of a command that shows only once it runs.
type usageError struct{ error }

// A noNodeError tells that there is no node to ask.
type noNodeError struct{ error }

// exitStatus returns the status to exit with for err, which is not nil.
func exitStatus(err error) int {
	var (
		wrong  usageError
		nobody noNodeError
		fault  *iris.RemoteError
		denied *iris.DeniedError
	)
	switch {
	case errors.As(err, &wrong):
		return statusUsage
	case errors.As(err, &fault):
		return statusFault
	case errors.As(err, &nobody), errors.As(err, &denied), isAny(err, iris.ErrNoNode, iris.ErrNotIris, iris.ErrUntrusted, iris.ErrLost):
		return statusNoNode
	case errors.Is(err, iris.ErrTimeout):
		return statusTimeout
	}
	return statusFailure
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}

// errorText returns err in one line that a terminal may show.
func errorText(err error) string {
	text := strings.TrimPrefix(err.Error(), "iris: ") // of the library
	return visible(strings.ReplaceAll(text, "\n", "; "))
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:     "iris",
		Example: "iris node --dev",
		Long: `Iris carries messages between programs that know each other by name only.
A node runs on the host, and programs attach to it.

Data goes to standard output, all else to standard error.

The flags of earlier nodes start a node too:
  iris -dev
  iris -port 55555 -net NAME -rsa FILE
       [-cpuprof FILE] [-heapprof FILE] [-blockprof FILE]`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SilenceErrors: true,
		SilenceUsage:  true,
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
	root.CompletionOptions.DisableDefaultCmd = true // newCompletionCommand is in its place
	root.AddCommand(newDemoCommand(), newNodeCommand(), newStatusCommand(), newHealthCommand(), newEventsCommand(), newDoctorCommand())
	root.AddCommand(newListCommands()...)
	root.AddCommand(newPingCommand(), newTraceCommand(), newWhyCommand())
	root.AddCommand(newKeygenCommand(), newServeCommand(), newRequestCommand(), newBroadcastCommand(),
		newPublishCommand(), newSubscribeCommand(), newTunnelCommand(), newBenchCommand(), newSimulateCommand(),
		newCompletionCommand(), newVersionCommand())
	root.SetHelpCommand(&cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Explain a command",
		Example: "iris help node",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			if cmd, _, err := root.Find(args); err == nil {
				for _, c := range cmd.Commands() {
					names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
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
	completeFlags(root)
	return root
}

// noArgs refuses arguments: those of the root, and of any command that has
// commands, are ones it does not have.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasSubCommands() {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	cmd.SuggestionsMinimumDistance = 2
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
	}
	if cmd.Runnable() && cmd.HasAvailableLocalFlags() {
		fmt.Fprintf(w, "\nFlags:\n%s", cmd.LocalFlags().FlagUsages())
	}
	fmt.Fprintf(w, "\n%s", exitHelp)
}
