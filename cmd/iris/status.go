package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris/internal/admin"
	"github.com/project-iris/iris/node"
)

// answerTime is what a node has to answer.
const answerTime = 5 * time.Second

func newStatusCommand() *cobra.Command {
	var (
		net, state string
		port       port
		rates      bool
		asJSON     bool
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
--json.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := func() (json.RawMessage, error) { return askNode(cmd.ErrOrStderr(), state, net, int(port)) }
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
	f.StringVar(&net, "net", "", "the `NAME` of its network")
	f.Var(&port, "port", "TCP port of the node's relay")
	f.StringVar(&state, "state", "", "`DIR` with the directories of nodes; default: this user's")
	f.BoolVar(&rates, "rates", false, "show what is sent each second now")
	f.BoolVar(&asJSON, "json", false, "write the node's answer as JSON")
	nameEnvironment(f)
	return cmd
}

// A liveNode is one that answered.
type liveNode struct {
	port   int
	status json.RawMessage
}

// askNode returns the status of the one node that the flags choose. An empty
// net and a port of 0 choose any.
func askNode(talk io.Writer, stateFlag, net string, port int) (json.RawMessage, error) {
	if !localSockets {
		return nil, errors.New("nodes have no admin socket on this system")
	}
	state, err := stateDir(stateFlag)
	if err != nil {
		return nil, err
	}
	if state == "" {
		return nil, usageError{errors.New("a node without a state directory has no admin socket to ask")}
	}
	nodes, err := findNodes(absolute(state), net, port)
	switch {
	case len(nodes) == 1:
		if err != nil {
			fmt.Fprintf(talk, "iris: %v\n", err)
		}
		return nodes[0].status, nil
	case len(nodes) > 1:
		if stateFlag != "" {
			stateFlag = " --state " + stateFlag
		}
		for _, n := range nodes {
			s, err := readStatus(n.status)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(talk, "iris status%s --port %-5d  # network %s\n", stateFlag, n.port, networkName(s))
		}
		return nil, fmt.Errorf("%d nodes answer: choose one as above", len(nodes))
	case err != nil:
		return nil, err
	}
	chosen := ""
	if net != "" {
		chosen += fmt.Sprintf(" of network %q", net)
	}
	if port != 0 {
		chosen += fmt.Sprintf(" on port %d", port)
	}
	return nil, noNodeError{fmt.Errorf(`no node%s keeps its state in %s: start one with "iris node --dev", or name the directory of another with --state`, chosen, state)}
}

// findNodes asks every node with a directory in state that net and port choose.
// The error tells which of them could not be asked; those that do not run are
// left out.
func findNodes(state, net string, port int) (nodes []liveNode, err error) {
	entries, err := os.ReadDir(state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, e := range entries {
		ofNet, ofPort, ok := splitNodeDir(e.Name())
		if !ok || !e.IsDir() || net != "" && ofNet != networkDir(net) || port != 0 && ofPort != port {
			continue
		}
		n := liveNode{port: ofPort}
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		err := admin.Status(ctx, filepath.Join(state, e.Name()), &n.status)
		cancel()
		switch {
		case err == nil:
			nodes = append(nodes, n)
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		default:
			errs = append(errs, err)
		}
	}
	return nodes, errors.Join(errs...)
}

func showStatus(w io.Writer, raw json.RawMessage, asJSON bool) error {
	if asJSON {
		var b bytes.Buffer
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return err
		}
		b.WriteByte('\n')
		_, err := b.WriteTo(w)
		return err
	}
	s, err := readStatus(raw)
	if err != nil {
		return err
	}
	return writeTable(w, s, nil)
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
