package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris/node"
)

func newEventsCommand() *cobra.Command {
	var (
		which  chosenNode
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happens at a node of this host",
		Example: `iris events
iris events --json | jq 'select(.event == "link_down")'`,
		Long: `Writes a line for everything that happens at a node from now on: nodes that join and
go, links, programs, clusters and topics that have members here, what was refused or
dropped. It ends with SIGINT or SIGTERM, or when the node ends.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			defer untilSignal(cmd)()
			answer, err := which.open(cmd, "/events")
			if err != nil {
				return err
			}
			defer answer.Close()
			fmt.Fprintln(cmd.ErrOrStderr(), "following")
			err = showEvents(cmd.OutOrStdout(), answer, asJSON)
			if cmd.Context().Err() != nil {
				return nil // a signal ended it
			}
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	which.flags(f)
	f.BoolVar(&asJSON, "json", false, "write the node's own lines, each an object")
	nameEnvironment(f)
	return cmd
}

// showEvents writes events until the node ends them.
func showEvents(w io.Writer, lines io.Reader, asJSON bool) error {
	in := bufio.NewReader(lines)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return noNodeError{errors.New("the node has ended, or this command took its events too slowly")}
		}
		if !asJSON {
			var e node.Event
			if err := json.Unmarshal(line, &e); err != nil {
				return fmt.Errorf("an event: %w", err)
			}
			line = []byte(eventText(&e) + "\n")
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
}

// eventText returns an event as people read it.
func eventText(e *node.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-16s", e.Time.Local().Format("15:04:05.000"), visible(e.Event))
	say := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s %s", name, printable(value))
		}
	}
	say("node", short(e.Node))
	say("at", e.Address)
	if e.Program != 0 {
		say("program", fmt.Sprint(e.Program))
	}
	say("cluster", e.Cluster)
	say("topic", e.Topic)
	say("is", e.State)
	say("source", e.Source)
	say("code", e.Code)
	if e.Count != 0 {
		say("count", fmt.Sprint(e.Count))
	}
	for _, text := range []string{e.What, e.Reason} {
		if text != "" {
			fmt.Fprintf(&b, " (%s)", visible(text))
		}
	}
	return b.String()
}
