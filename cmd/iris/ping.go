package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris/node"
)

// pingPause lies between two pings of one command.
const pingPause = 200 * time.Millisecond

func newPingCommand() *cobra.Command {
	var (
		which  chosenNode
		count  int
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "ping {NODE | HOST | HOST:PORT}",
		Short: "Measure the way to another node, or tell how far one comes",
		Example: `iris ping 3f2a8c01
iris ping 192.0.2.7 --count 10`,
		Long: `Has a node of this host ask another for a sign of life, over the link to it or by
way of others, as control messages go, and shows the time there and back.

NODE is the first digits of an id, as "iris status" shows them. A host or address
stands for the known node that is there. If none is, it is dialled (a port that is
left out is 14142), and shown is how far that came: TCP; TLS, when both have shown
that they are of the network; and WELCOME, when there is a link. That stays.

Exit status 0 if there was an answer, 1 if there was none.`,
		Args: oneName("node or host"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 1 {
				return usageError{errors.New("--count is how many times to ask, 1 or more")}
			}
			w, host, answered := cmd.OutOrStdout(), args[0], false
			for i := range count {
				if i > 0 {
					time.Sleep(pingPause)
				}
				raw, err := which.order(cmd, "/ping?host="+url.QueryEscape(host), nil)
				if err != nil {
					return err
				}
				var p node.PingStatus
				if err := json.Unmarshal(raw, &p); err != nil {
					return fmt.Errorf("a node's answer: %w", err)
				}
				if answered = answered || p.Answered; asJSON {
					err = writeJSON(w, raw)
				} else {
					_, err = io.WriteString(w, visible(pingLine(host, &p))+"\n")
				}
				if err != nil || p.Self {
					return err
				}
				if p.Node == "" && p.Address == "" { // there is nobody to ask
					break
				}
			}
			if !answered {
				return fmt.Errorf("%s has not answered", printable(host))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&count, "count", 3, "ask `N` times")
	which.flags(f)
	f.BoolVar(&asJSON, "json", false, "write the node's answers as JSON, one a line")
	nameEnvironment(f)
	return cmd
}

// pingLine tells in one line what came of a ping.
func pingLine(host string, p *node.PingStatus) string {
	var b strings.Builder
	b.WriteString(host)
	if p.Address != "" && p.Address != host {
		b.WriteString(" " + linkedText(p))
	}
	b.WriteString(": ")
	switch {
	case p.Self:
		fmt.Fprintf(&b, "this is node %s itself", short(p.Node))
		return b.String()
	case p.Answered:
		fmt.Fprintf(&b, "node %s, %.2f ms", short(p.Node), p.Time)
		if p.Hops > 1 {
			b.WriteString(", " + hopsText(p.Hops))
		}
	case p.Node != "":
		fmt.Fprintf(&b, "node %s: ", short(p.Node))
	}
	if d := p.Dial; d != nil {
		if p.Answered {
			b.WriteString("; it was not known: ")
		}
		b.WriteString(dialText(d))
		if !p.Answered {
			b.WriteString("; then ")
		}
	}
	b.WriteString(p.Error)
	if p.Code != "" {
		fmt.Fprintf(&b, " (%s)", p.Code)
	}
	if p.Hint != "" {
		b.WriteString(": " + p.Hint)
	}
	return b.String()
}

// linkedText tells which link a ping takes.
func linkedText(p *node.PingStatus) string {
	text := "by the link from " + p.Address
	if p.Dialled {
		text = "by the link at " + p.Address
	}
	if p.Via != "" {
		text = fmt.Sprintf("by way of %s, %s", short(p.Via), text)
	}
	return text
}

// dialText tells how far a dial came.
func dialText(d *node.DialStatus) string {
	if d.Connected == 0 {
		return "no TCP"
	}
	text := fmt.Sprintf("TCP after %.2f ms", d.Connected)
	if d.Trusted > 0 {
		text += fmt.Sprintf(", TLS after %.2f ms", d.Trusted)
	}
	if d.Welcomed > 0 {
		text += fmt.Sprintf(", WELCOME after %.2f ms", d.Welcomed)
	}
	return text
}
