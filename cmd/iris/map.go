package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris/node"
)

func newMapCommand() *cobra.Command {
	var (
		which   chosenNode
		reports []string
	)
	format := choice{value: "text", words: []string{"text", "dot", "mermaid", "json"}}
	cmd := &cobra.Command{
		Use:   "map",
		Short: "Draw who talks to whom",
		Example: `iris map
iris map --format dot | dot -Tsvg >map.svg
iris map --report b.json --report c.json`,
		Long: `Draws the nodes with what passed through the links between them, and the clusters and
topics: where their members are, whose programs use them, and tunnels to them. A node
knows its own programs only, and the members that matter to those. What others know is
added with --report, which takes what "iris status --json" wrote there.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := which.find(cmd)
			if err != nil {
				return err
			}
			s, err := readStatus(n.status)
			if err != nil {
				return err
			}
			answer, err := n.ask(cmd.Context(), "/tunnels")
			if err != nil {
				return err
			}
			var tunnels node.TunnelList
			if err := json.Unmarshal(answer, &tunnels); err != nil {
				return fmt.Errorf("a node's answer: %w", err)
			}
			p := newPicture(s)
			p.see(s)
			p.dig(s, tunnels.Tunnels)
			for _, file := range reports {
				if err := p.report(file); err != nil {
					return err
				}
			}
			return p.write(cmd.OutOrStdout(), format.value)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(&format, "format", "text, dot of Graphviz, mermaid, or json")
	f.StringArrayVar(&reports, "report", nil, "`FILE` with the status of another node; may be repeated")
	which.flags(f)
	nameEnvironment(f)
	return cmd
}

// report adds what a file says that another node wrote.
func (p *picture) report(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	s := new(node.Status)
	if err := json.Unmarshal(raw, s); err != nil {
		return fmt.Errorf(`read %s: %w: write it with "iris status --json"`, file, err)
	}
	if s.Node == "" {
		return fmt.Errorf(`%s is not of a node that has others: write it with "iris status --json"`, file)
	}
	if s.Network != p.Network {
		return fmt.Errorf("%s is of network %q and not %q: name files of one network", file, s.Network, p.Network)
	}
	p.see(s)
	return nil
}

func (p *picture) write(w io.Writer, format string) error {
	var text string
	switch format {
	case "text":
		text = p.text()
	case "dot":
		text = p.dot()
	case "mermaid":
		text = p.mermaid()
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(p.sorted())
	default:
		return errors.New("unknown format " + format)
	}
	_, err := io.WriteString(w, text)
	return err
}
