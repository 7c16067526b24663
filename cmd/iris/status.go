package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris/node"
)

func newStatusCommand() *cobra.Command {
	var (
		which  chosenNode
		rates  bool
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a node of this host is doing",
		Example: `iris status
iris status --rates`,
		Long: `Asks a node over its admin socket: be the user the node runs as. Without flags it
asks the only node there is. A flag that is not given is taken from the variable
in brackets.

Counters go up from the start of the node, and what is sent each second is the
mean since then; --rates looks twice, a second apart, and shows what was sent in
between. Of a name that no program of the node uses it is not known which other
nodes have members: that is shown as -. Counters that are 0 are left out, but with
--json.

A part of it, or more of it: iris peers, clusters, topics, tunnels, links; iris top
shows it as it changes, iris map who talks to whom.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := func() (json.RawMessage, error) { return which.ask(cmd, "/status") }
			raw, err := ask()
			if err != nil {
				return err
			}
			if rates {
				return showRates(cmd.OutOrStdout(), raw, ask, asJSON)
			}
			return showStatus(cmd.OutOrStdout(), raw, asJSON)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	which.flags(f)
	f.BoolVar(&rates, "rates", false, "show what is sent each second now")
	f.BoolVar(&asJSON, "json", false, "write the node's answer as JSON")
	nameEnvironment(f)
	return cmd
}

func showStatus(w io.Writer, raw json.RawMessage, asJSON bool) error {
	if asJSON {
		return writeIndented(w, raw)
	}
	s, err := readStatus(raw)
	if err != nil {
		return err
	}
	return writeTable(w, s, nil)
}

// writeIndented writes JSON as the node gave it.
func writeIndented(w io.Writer, raw json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := b.WriteTo(w)
	return err
}

// readStatus returns what a node has answered.
func readStatus(raw json.RawMessage) (*node.Status, error) {
	s := new(node.Status)
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("a node's answer: %w", err)
	}
	return s, nil
}

// networkName names the network of a node for people.
func networkName(s *node.Status) string {
	if s.Dev {
		return "dev"
	}
	return printable(s.Network)
}

// printable returns a name that programs chose, quoted where it could do more to
// a terminal than be read.
func printable(name string) string {
	odd := func(r rune) bool { return r == '"' || unprintable(r) }
	if name == "" || strings.TrimSpace(name) != name || strings.ContainsFunc(name, odd) {
		return strconv.Quote(name)
	}
	return name
}

// visible returns text with what could do more to a terminal than be read
// written as in a Go string, as \n.
func visible(text string) string {
	if !strings.ContainsFunc(text, unprintable) {
		return text
	}
	quoted := strconv.QuoteToGraphic(text)
	return quoted[1 : len(quoted)-1]
}

func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsGraphic(r) }
