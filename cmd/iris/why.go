package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris/node"
)

func newWhyCommand() *cobra.Command {
	var (
		which  chosenNode
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:     "why CLUSTER",
		Short:   "Show which node serves a cluster next, and why",
		Example: `iris why greeter`,
		Long: `Shows what a node of this host knows of the nodes with members of CLUSTER when it
chooses one for a request of its programs: what each last told of its load, when
an answer is expected from it, how often it was chosen, and how likely it is next.
The node with the lowest handler time x max(1, (in hand + 1) / at once) + round
trip is chosen, but one choice in 16 goes to one of which nothing new is known.

From now on, for a minute, the node keeps its last 16 choices: ask again to see
them. A name that no program of the node uses it asks the network for.`,
		Args: oneName("cluster"),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := which.ask(cmd, "/why?cluster="+url.QueryEscape(args[0]))
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			if asJSON {
				return writeIndented(w, raw)
			}
			var s node.WhyStatus
			if err := json.Unmarshal(raw, &s); err != nil {
				return fmt.Errorf("a node's answer: %w", err)
			}
			t := newTable(w)
			t.why(&s, nil)
			t.candidates(&s)
			t.choices(&s)
			return t.Flush()
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	which.flags(f)
	f.BoolVar(&asJSON, "json", false, "write the node's answer as JSON")
	nameEnvironment(f)
	return cmd
}

// nodeText names a node beside the one that was asked.
func nodeText(id, self string) string {
	switch id {
	case "", self:
		return "this node"
	}
	return short(id)
}

// why writes what is known of a cluster, and of the way to its root if that is not nil.
func (t table) why(s *node.WhyStatus, root *node.PingStatus) {
	t.row("cluster", printable(s.Cluster))
	if d := s.Directory; d.Key != "" {
		text := "nobody is known to have it yet"
		if d.Root != "" {
			text = nodeText(d.Root, s.Node) + ", "
			switch {
			case !d.Answered:
				text += "which has not answered yet"
			case d.Known:
				text += "which tells this node of changes"
			default:
				text += "asked now"
			}
			if d.Redirects > 0 {
				text += fmt.Sprintf(", sent on %d times", d.Redirects)
			}
			if root != nil && root.Answered && !root.Self {
				text += fmt.Sprintf(", %.2f ms there and back", root.Time)
			}
			if d.Unsure {
				text += "; it is new to the name, and may not know all yet"
			}
		}
		t.row("directory", text)
	}
	t.row("members here", fmt.Sprintf("%d, with %d requests in hand", s.Members, s.Load))
	if s.Waiting > 0 {
		t.row("waiting", fmt.Sprintf("%d requests of programs here: nobody takes them now", s.Waiting))
	}
	switch {
	case len(s.Candidates) == 0:
		t.row("choice", "none: there is no member anywhere, and requests wait for one")
	case len(s.Candidates) == 1 && s.Members > 0:
		t.row("choice", "none: all members are here, and the one with the fewest requests in hand is next")
	case len(s.Candidates) == 1:
		t.row("choice", "none: one node has members")
	}
}

// candidates writes the nodes that are chosen among.
func (t table) candidates(s *node.WhyStatus) {
	if len(s.Candidates) == 0 {
		return
	}
	t.row()
	t.row("NODE", "IN HAND", "AT ONCE", "HANDLER", "ROUND TRIP", "EXPECTED", "TOLD", "CHOSEN", "NEXT")
	for _, c := range s.Candidates {
		cells := []any{nodeText(c.Node, s.Node), c.InFlight, "-", "-", "-", "-", "never", c.Chosen, chanceText(c.Chance)}
		if c.RTT > 0 {
			cells[4] = millisecondsText(c.RTT)
		}
		if c.Workers > 0 {
			cells[2], cells[3], cells[5], cells[6] = c.Workers, millisecondsText(c.Handler), millisecondsText(c.Expected), agoText(c.Age)
		}
		if text := candidateText(&c); text != "" {
			cells = append(cells, text)
		}
		t.row(cells...)
	}
}

func chanceText(chance float64) string {
	if chance < 0 {
		return "drawn"
	}
	return fmt.Sprintf("%.0f %%", 100*chance)
}

// candidateText says what is special about a candidate.
func candidateText(c *node.CandidateStatus) string {
	switch {
	case c.Ejected > 0:
		return fmt.Sprintf("passed over for %s: %d failures in a row", secondsText(c.Ejected), c.Failures)
	case c.Full > 0:
		return "passed over for a moment: its queue is full"
	case !c.Linked && c.Via != "":
		return "by way of " + short(c.Via) + ": no link"
	case !c.Linked:
		return "out of reach: no link"
	case c.Workers > 0 && !c.Fresh:
		return "old news"
	}
	return ""
}

// choices writes who served the last requests.
func (t table) choices(s *node.WhyStatus) {
	t.row()
	switch {
	case len(s.Choices) > 0:
		t.row("CHOSEN", "NODE", "EXPECTED", "HOW")
		for _, c := range s.Choices {
			to, expected := nodeText(c.Node, s.Node), "-"
			if c.Node == "" && s.Node != "" {
				to = "nobody"
			}
			if c.Expected > 0 {
				expected = millisecondsText(c.Expected)
			}
			t.row(agoText(milliseconds(time.Since(c.At))), to, expected, c.How)
		}
	case s.Kept:
		t.row("No choice was made since it was asked for last.")
	default:
		t.row("From now on choices are kept, for a minute: ask again to see them.")
	}
}

func millisecondsText(ms float64) string { return fmt.Sprintf("%.2f ms", ms) }
func secondsText(ms float64) string      { return fmt.Sprintf("%.1fs", ms/1e3) }
func agoText(ms float64) string          { return secondsText(ms) + " ago" }
