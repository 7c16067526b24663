package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
)

// demoCounters are the counters of the last step, in the order people read them.
var demoCounters = []string{"programs", "requests", "replies", "broadcasts", "events", "tunnels", "links lost", "requests lost", "dropped"}

// showDemo returns what writes the steps to w, for machines or for people.
func showDemo(w io.Writer, asJSON bool) func(demoStep) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		return func(s demoStep) error { return encoder.Encode(s) }
	}
	var once sync.Once
	return func(s demoStep) error {
		var b strings.Builder
		once.Do(func() {
			b.WriteString("Iris: programs that address each other by name, through the nodes of their hosts.\n")
		})
		b.WriteByte('\n')
		switch {
		case s.Counters != nil:
			b.WriteString("Nodes 1 and 3 have counted:\n")
			for _, name := range demoCounters {
				fmt.Fprintf(&b, "  %-14s %d\n", name, s.Counters[name])
			}
			b.WriteString("\nNext: \"iris node --dev\" keeps a node running for programs of your own.\n")
		default:
			line := fmt.Sprintf("%-10s %s to %s: %s", s.Step, s.From, s.To, s.Sent)
			if s.From == "" {
				line = s.Step
			}
			b.WriteString(line + "\n")
			for _, a := range s.Answers {
				by := a.By
				if a.Node != 0 && !strings.HasPrefix(by, "node") {
					by += fmt.Sprintf(", node %d", a.Node)
				}
				fmt.Fprintf(&b, "  %12s  %s\n", by, a.Text)
			}
			if s.Took > 0 {
				fmt.Fprintf(&b, "  %12s  after %.2f ms\n", "", s.Took)
			}
		}
		_, err := io.WriteString(w, b.String())
		return err
	}
}
