package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/node"
)

// TestTopShowsTheBusiestFirst looks twice at a node, and then in vain.
func TestTopShowsTheBusiestFirst(t *testing.T) {
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	status := func(f uint64) *node.Status {
		return &node.Status{
			Network: "demo", Node: "0011223344556677aaaaaaaaaaaaaaaa", State: "active", Started: at.Add(-time.Hour), Programs: 3, Tunnels: 2,
			Sent:     node.SentStatus{Requests: 1000 * f, Events: 5 * f},
			Memory:   node.MemoryStatus{Used: 50 << 20, Limit: 100 << 20},
			Clusters: []node.NameStatus{{Name: "a", Members: 1}, {Name: "b\x1b[2J", Load: 3, Taken: 100 * f}, {Name: "c", Passed: 900 * f, Nodes: 2, Watched: true}},
			Topics:   []node.NameStatus{{Name: "x", Sent: 5}, {Name: "y", Arrived: 7 * f}},
			Links: []node.LinkStatus{
				{Node: "8899aabb000000000000000000000000", Address: "192.0.2.2:14142", Since: at, Received: 100 * f, RTT: 1},
				{Node: "ccddeeff000000000000000000000000", Address: "192.0.2.3:14142", Since: at, Sent: 4096 * f, RTT: 0.5}},
			Dropped: map[string]uint64{"late replies": 5, "tunnels broken": f},
		}
	}
	v := topView{hint: "looks every 2s; q ends it"}
	v.look(status(1), at)
	v.look(status(3), at.Add(2*time.Second))
	const want = `network demo  node 00112233, active  up 1h0m2s  programs 3  tunnels 2
memory [##########..........] 50 MiB of 100 MiB hold payload
sent each second: requests 1000  replies 0  broadcasts 0  events 5.00  tunnels 0
looks every 2s; q ends it

DROPPED         SINCE TOP BEGAN
tunnels broken  2

CLUSTER     TAKEN/S  LOAD  MEMBERS  BROADCASTS/S  PASSED ON/S  OTHER NODES
c           0        0     0        0             900          2
"b\x1b[2J"  100      3     0        0             0            -
a           0        0     1        0             0            -

TOPIC  PUBLISHED/S  SUBSCRIBERS  ARRIVED/S  OTHER NODES
y      0            0            7.00       -
x      0            0            0          -

LINK TO   RECEIVED/S  SENT/S  WAITING  ROUND TRIP  ADDRESS
ccddeeff  0 B         4 KiB   0 B      0.50 ms     192.0.2.3:14142
8899aabb  100 B       0 B     0 B      1.00 ms     192.0.2.2:14142
`
	if got := frameText(v.frame(80, 0, v.looked)); got != want {
		t.Errorf("shown is\n%s\nwant\n%s", got, want)
	}
	for height := 0; height < 30; height += 3 {
		for width := 0; width < 90; width += 7 {
			lines := v.frame(width, height, v.looked)
			if height > 0 && len(lines) > height {
				t.Errorf("on %d lines are %d", height, len(lines))
			}
			for _, l := range lines {
				if width > 0 && cells(l.text) > width {
					t.Errorf("on %d cells is %q", width, l.text)
				}
			}
		}
	}
	if got := frameText(v.frame(80, 15, v.looked)); !strings.Contains(got, "  900          2\n... 2 more\n\nTOPIC ") {
		t.Errorf("on a low screen is\n%s", got)
	}

	v.miss(errors.New("ask the node:\nnobody"), at.Add(3*time.Second))
	v.miss(errors.New("ask the node:\nnobody"), at.Add(5*time.Second))
	if got := v.frame(80, 0, at.Add(8*time.Second))[3]; got != (topLine{"NO ANSWER for 5s, trying on: ask the node:; nobody", alarm}) {
		t.Errorf("of a node that is away it says %q", got.text)
	}
	s := status(0)
	s.Started = at.Add(9 * time.Second) // another one
	v.look(s, at.Add(10*time.Second))
	if got := frameText(v.frame(80, 0, at.Add(10*time.Second))); strings.Contains(got, "NO ANSWER") || strings.Contains(got, "DROPPED") || !strings.Contains(got, ": looking\n") {
		t.Errorf("of a new node it says\n%s", got)
	}
}

func frameText(lines []topLine) string {
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintln(&b, l.text)
	}
	return b.String()
}
