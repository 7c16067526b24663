package main

import (
	"errors"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// shells are the generators of completion scripts.
var shells = []struct {
	name     string
	generate func(root *cobra.Command, w io.Writer) error
}{
	{"bash", func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) }},
	{"zsh", func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) }},
	{"fish", func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) }},
	{"powershell", func(root *cobra.Command, w io.Writer) error { return root.GenPowerShellCompletionWithDesc(w) }},
}

func newCompletionCommand() *cobra.Command {
	var names []string
	for _, s := range shells {
		names = append(names, s.name)
	}
	return &cobra.Command{
		Use:   "completion {bash | zsh | fish | powershell}",
		Short: "Write the completion script of a shell",
		Example: `source <(iris completion bash)
iris completion zsh >"${fpath[1]}/_iris"
iris completion fish >~/.config/fish/completions/iris.fish`,
		Long: `Writes to standard output what makes a shell complete commands and flags of iris.
Bash needs its package bash-completion, and zsh a "compinit" in ~/.zshrc.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(names, args[0]) {
				return errors.New("name one shell: bash, zsh, fish or powershell")
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			s := shells[slices.Index(names, args[0])]
			return s.generate(cmd.Root(), cmd.OutOrStdout())
		},
	}
}

// files are the flags whose values are names of files.
var files = map[string]bool{"key": true, "also-accept": true, "socket": true, "address": true, "cpuprof": true, "heapprof": true, "blockprof": true, "report": true, "write": true}

// completeFlags has the flags of all commands complete what may follow them: one
// of their words, a file, a directory, or nothing that a shell could know.
func completeFlags(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		completeFlags(c)
	}
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		words, isChoice := f.Value.(*choice)
		switch {
		case isChoice:
			cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(words.words, cobra.ShellCompDirectiveNoFileComp))
		case f.Name == "state":
			cmd.MarkFlagDirname(f.Name)
		case !files[f.Name]:
			cmd.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions)
		}
	})
}
