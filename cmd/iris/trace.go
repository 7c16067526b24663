package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/node"
)

// A timeoutError tells that there was no answer in time to what the node asked.
type timeoutError struct{ error }

func (timeoutError) Is(target error) bool { return target == iris.ErrTimeout }

func newTraceCommand() *cobra.Command {
	var (
		which  chosenNode
		send   bool
		body   string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "trace CLUSTER",
		Short: "Show the way of a request, hop by hop",
		Example: `iris trace greeter
iris trace greeter --send --body Ada`,
		Long: `Shows the way that the next request to CLUSTER would take from a node of this host:
who is asked which nodes have members, which of them is likeliest to be given the
request, over which links, and how far away it is. Nothing is sent to a member.

With --send one request is sent: a member works on it. Shown is who was given it,
and when, and what the answer says. Times are this node's: from another node comes
how long its members work on a request as a rule, and the rest of the time is the
way and the wait.

With --send exit status 3 tells that there was no answer within 3 seconds.`,
		Args: oneName("cluster"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("body") && !send {
				return usageError{errors.New("--body is what a request carries: with --send one is sent")}
			}
			path := "/trace?cluster=" + url.QueryEscape(args[0])
			do := func() (json.RawMessage, error) { return which.ask(cmd, path) }
			if send {
				do = func() (json.RawMessage, error) { return which.order(cmd, path, []byte(body)) }
			}
			raw, err := do()
			if err != nil {
				return err
			}
			var s node.TraceStatus
			if err := json.Unmarshal(raw, &s); err != nil {
				return fmt.Errorf("a node's answer: %w", err)
			}
			w := cmd.OutOrStdout()
			if asJSON {
				err = writeIndented(w, raw)
			} else {
				t := newTable(w)
				t.why(s.Why, &s.Root)
				t.way(&s)
				t.traced(&s)
				err = t.Flush()
			}
			if err == nil && s.Sent != nil && s.Sent.Error != "" {
				err = errors.New(s.Sent.Error)
				if s.Sent.TimedOut {
					err = timeoutError{err}
				}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&send, "send", false, "send a request")
	f.StringVar(&body, "body", "", "`TEXT` that it carries")
	which.flags(f)
	f.BoolVar(&asJSON, "json", false, "write the node's answer as JSON")
	nameEnvironment(f)
	return cmd
}

// way writes how the next request gets to who is likeliest to serve it.
func (t table) way(s *node.TraceStatus) {
	self := s.Why.Node
	n := s.Next
	if n == nil {
		t.row("next", "nobody: a request would wait")
		return
	}
	for _, c := range s.Why.Candidates {
		if c.Node == n.Node {
			share := chanceText(c.Chance) + " of the requests"
			if c.Chance < 0 {
				share = "if it is among the 16 that are drawn"
			}
			t.row("next", nodeText(n.Node, self)+", "+share)
			if c.Workers > 0 {
				t.row("expected", fmt.Sprintf("%s: %d in hand, %d at once, %s each", millisecondsText(c.Expected), c.InFlight, c.Workers, millisecondsText(c.Handler)))
			}
		}
	}
	t.row("way", wayText(n))
	if w := n.Waiting; !n.Ping.Self {
		t.row("waiting", fmt.Sprintf("%s of requests, %s of publications, %s of long messages", octets(int64(w.Requests)), octets(int64(w.Publications)), octets(int64(w.Bulk))))
	}
}

func wayText(n *node.WayStatus) string {
	switch {
	case n.Ping.Self:
		return "0 hops: within the node"
	case !n.Ping.Answered:
		return "it does not answer: " + visible(n.Ping.Error)
	}
	return fmt.Sprintf("%s, %s, %.2f ms there and back", hopsText(n.Hops), linkedText(&n.Ping), n.Ping.Time)
}

func hopsText(n int) string {
	if n == 1 {
		return "1 hop"
	}
	return fmt.Sprintf("%d hops", n)
}

// traced writes what became of the request that was sent.
func (t table) traced(s *node.TraceStatus) {
	r := s.Sent
	if r == nil {
		return
	}
	self := s.Why.Node
	t.row()
	t.row("REQUEST", "AFTER")
	for _, step := range r.Steps {
		what := step.What
		if step.Node != "" || self == "" {
			what += " " + nodeText(step.Node, self)
		}
		if step.Via != "" {
			what += " by way of " + short(step.Via)
		}
		t.row(what, millisecondsText(step.At))
	}
	switch {
	case r.Error != "":
		t.row(visible(r.Error), millisecondsText(r.Total))
		return
	case r.Fault != "":
		t.row("the answer is a fault: "+printable(r.Fault), millisecondsText(r.Total))
	default:
		t.row(fmt.Sprintf("the answer is here: %s, %s", octets(int64(r.Octets)), hopsText(r.Hops)), millisecondsText(r.Total))
	}
	if r.Handler > 0 {
		t.row("members there work on one as a rule", millisecondsText(r.Handler))
	}
	if r.Handler > 0 && r.Handler < r.Total {
		t.row("so the way and the wait took about", millisecondsText(r.Total-r.Handler))
	}
}
