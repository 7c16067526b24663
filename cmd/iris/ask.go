package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/project-iris/iris/internal/admin"
)

// answerTime is what a node has to answer.
const answerTime = 5 * time.Second

// A chosenNode is the node of this host that a command asks over its admin socket.
type chosenNode struct {
	net, state string
	port       port
}

// flags adds the flags that choose the node.
func (c *chosenNode) flags(f *pflag.FlagSet) {
	f.StringVar(&c.net, "net", "", "the `NAME` of its network")
	f.Var(&c.port, "port", "TCP port of the node's relay")
	f.StringVar(&c.state, "state", "", "`DIR` with the directories of nodes; default: this user's")
}

// ask returns what the node answers to a path, such as /status.
func (c *chosenNode) ask(cmd *cobra.Command, path string) (answer json.RawMessage, err error) {
	n, err := c.find(cmd)
	if err != nil || path == "/status" {
		return n.status, err
	}
	return n.ask(cmd.Context(), path)
}

// open returns what the node answers to a path, as it comes. It ends with the context of
// cmd.
func (c *chosenNode) open(cmd *cobra.Command, path string) (io.ReadCloser, error) {
	n, err := c.find(cmd)
	if err != nil {
		return nil, err
	}
	return admin.Open(cmd.Context(), n.dir, path)
}

// order has the node do what a path stands for, and returns what it answers.
func (c *chosenNode) order(cmd *cobra.Command, path string, body []byte) (answer json.RawMessage, err error) {
	n, err := c.find(cmd)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*answerTime) // it asks others
	defer cancel()
	return answer, admin.Order(ctx, n.dir, path, body, &answer)
}

// A liveNode is one that answered.
type liveNode struct {
	dir    string // its own, with its admin socket
	port   int
	status json.RawMessage
}

// ask returns what the node answers to a path.
func (n *liveNode) ask(ctx context.Context, path string) (answer json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err = admin.Ask(ctx, n.dir, path, &answer)
	return answer, err
}

// find returns the one node that the flags choose; without any, the only one.
func (c *chosenNode) find(cmd *cobra.Command) (n liveNode, err error) {
	if !localSockets {
		return n, errors.New("nodes have no admin socket on this system")
	}
	state, err := stateDir(c.state)
	if err != nil {
		return n, err
	}
	if state == "" {
		return n, usageError{errors.New("a node without a state directory has no admin socket to ask")}
	}
	nodes, err := findNodes(absolute(state), c.net, int(c.port))
	talk := cmd.ErrOrStderr()
	switch {
	case len(nodes) == 1:
		if err != nil {
			fmt.Fprintf(talk, "iris: %v\n", err)
		}
		return nodes[0], nil
	case len(nodes) > 1:
		chosen := ""
		if c.state != "" {
			chosen = " --state " + c.state
		}
		for _, n := range nodes {
			s, err := readStatus(n.status)
			if err != nil {
				return n, err
			}
			fmt.Fprintf(talk, "%s%s --port %-5d  # network %s\n", cmd.CommandPath(), chosen, n.port, networkName(s))
		}
		return n, fmt.Errorf("%d nodes answer: choose one as above", len(nodes))
	case err != nil:
		return n, err
	}
	chosen := ""
	if c.net != "" {
		chosen += fmt.Sprintf(" of network %q", c.net)
	}
	if c.port != 0 {
		chosen += fmt.Sprintf(" on port %d", c.port)
	}
	return n, noNodeError{fmt.Errorf(`no node%s keeps its state in %s: start one with "iris node --dev", or name the directory of another with --state`, chosen, state)}
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
		n := liveNode{dir: filepath.Join(state, e.Name()), port: ofPort}
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		err := admin.Ask(ctx, n.dir, "/status", &n.status)
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
