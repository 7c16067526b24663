package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-iris/iris/node"
)

const (
	idA = "0011223300000000000000000000000a"
	idB = "8899aabb00000000000000000000000b"
	idC = "ccddeeff00000000000000000000000c"
)

// views returns what two of three nodes say. The names are there to break what is drawn.
func views() (a, b *node.Status) {
	a = &node.Status{
		Network: "demo", Node: idA, State: "active", Programs: 2, Address: []string{"192.0.2.1:14142"},
		Peers: []node.PeerStatus{{Node: idB, State: "active", Address: []string{"192.0.2.2:14142"}, Tunnels: 1}, {Node: idC, State: "leaving"}},
		Links: []node.LinkStatus{{Node: idB, Sent: 2048, Received: 100}},
		Clusters: []node.NameStatus{
			{Name: "end", Members: 2, Nodes: 3, On: []string{idB, idC}, Watched: true},
			{Name: "a \"b\"]\n<b>&#;`\\", Members: 1},
			{Name: "請求書", Nodes: 1, On: []string{idC}, Passed: 1},
		},
		Topics: []node.NameStatus{{Name: "news --> x", Nodes: 1, On: []string{idB}, Sent: 1}},
	}
	b = &node.Status{
		Network: "demo", Node: idB, State: "active", Programs: 5,
		Links:    []node.LinkStatus{{Node: idA, Sent: 200, Received: 2000}, {Node: idC, Sent: 1, Received: 2}},
		Clusters: []node.NameStatus{{Name: "end", Members: 7}},
		Topics:   []node.NameStatus{{Name: "news --> x", Members: 4}},
	}
	return a, b
}

var dug = []node.TunnelStatus{
	{Cluster: "end", Here: true, Node: idB, ToMember: node.TunnelFlow{Octets: 5}, FromMember: node.TunnelFlow{Octets: 1 << 20}},
	{Cluster: "end", Here: true, Node: idB, ToMember: node.TunnelFlow{Octets: 6}},
	{Cluster: "forgotten", Here: true},
	{Cluster: "end", Node: idC},
}

// TestMapOfSeveralViews draws what two nodes say, in each order of what they say.
func TestMapOfSeveralViews(t *testing.T) {
	a, b := views()
	file := filepath.Join(t.TempDir(), "b.json")
	raw, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	draw := func(format string) string {
		t.Helper()
		p := newPicture(a)
		p.see(a)
		p.dig(a, dug)
		if err := p.report(file); err != nil {
			t.Fatal(err)
		}
		if err := p.report(file); err != nil { // twice is as good as once
			t.Fatal(err)
		}
		var out strings.Builder
		if err := p.write(&out, format); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for format, want := range map[string]string{
		"text": `
network demo
  node 00112233, active, 2 programs, 192.0.2.1:14142
    link to node 8899aabb: 2 KiB there, 200 B back, 1 tunnel
  node 8899aabb, active, 5 programs
    link to node ccddeeff: 1 B there, 2 B back
  node ccddeeff, leaving
  cluster "a \"b\"]\n<b>&#;` + "`" + `\\"
    1 member on node 00112233
  cluster end
    used by node 00112233
    2 members on node 00112233
    7 members on node 8899aabb
    members on node ccddeeff
    members on 1 node more
    2 tunnels, 11 B there, 1 MiB back from node 00112233 to node 8899aabb
    1 tunnel, 0 B there, 0 B back from node ccddeeff to node 00112233
  cluster forgotten
    1 tunnel, 0 B there, 0 B back from node 00112233 to node 00112233
  cluster 請求書
    used by node 00112233
    members on node ccddeeff
  topic news --> x
    used by node 00112233
    4 subscribers on node 8899aabb
`, "dot": `
digraph iris {
	rankdir=LR;
	node [shape=box];
	n0 [shape=box, label="node 00112233\nactive, 2 programs"];
	n1 [shape=box, label="node 8899aabb\nactive, 5 programs"];
	n2 [shape=box, label="node ccddeeff\nleaving"];
	c0 [shape=ellipse, label="cluster \"a \\\"b\\\"]\\n<b>&amp;#;` + "`" + `\\\\\""];
	c1 [shape=ellipse, label="cluster end\nmembers on 1 node more"];
	c2 [shape=ellipse, label="cluster forgotten"];
	c3 [shape=ellipse, label="cluster 請求書"];
	t0 [shape=hexagon, label="topic news --> x"];
	n0 -> n1 [dir=both, label="2 KiB there, 200 B back, 1 tunnel"];
	n1 -> n2 [dir=both, label="1 B there, 2 B back"];
	c0 -> n0 [style=solid, label="1 member"];
	n0 -> c1 [style=dashed, label=""];
	c1 -> n0 [style=solid, label="2 members"];
	c1 -> n1 [style=solid, label="7 members"];
	c1 -> n2 [style=solid, label="members"];
	n0 -> c3 [style=dashed, label=""];
	c3 -> n2 [style=solid, label="members"];
	n0 -> t0 [style=dashed, label=""];
	t0 -> n1 [style=solid, label="4 subscribers"];
	n0 -> c1 [style=bold, label="2 tunnels, 11 B there, 1 MiB back"];
	n2 -> c1 [style=bold, label="1 tunnel, 0 B there, 0 B back"];
	n0 -> c2 [style=bold, label="1 tunnel, 0 B there, 0 B back"];
}
`, "mermaid": `
flowchart LR
    n0["node 00112233<br>active, 2 programs"]
    n1["node 8899aabb<br>active, 5 programs"]
    n2["node ccddeeff<br>leaving"]
    c0(["cluster #34;a #92;#34;b#92;#34;#93;#92;n#60;b#62;#38;#35;#59;#96;#92;#92;#34;"])
    c1(["cluster end<br>members on 1 node more"])
    c2(["cluster forgotten"])
    c3(["cluster 請求書"])
    t0{{"topic news --#62; x"}}
    n0 <-->|"2 KiB there, 200 B back, 1 tunnel"| n1
    n1 <-->|"1 B there, 2 B back"| n2
    c0 -->|"1 member"| n0
    n0 -.-> c1
    c1 -->|"2 members"| n0
    c1 -->|"7 members"| n1
    c1 -->|"members"| n2
    n0 -.-> c3
    c3 -->|"members"| n2
    n0 -.-> t0
    t0 -->|"4 subscribers"| n1
    n0 ==>|"2 tunnels, 11 B there, 1 MiB back"| c1
    n2 ==>|"1 tunnel, 0 B there, 0 B back"| c1
    n0 ==>|"1 tunnel, 0 B there, 0 B back"| c2
`} {
		got := "\n" + draw(format)
		if got != want {
			t.Errorf("as %s it is%s\nwant%s", format, got, want)
		}
		for range 20 {
			if again := "\n" + draw(format); again != got {
				t.Fatalf("as %s it is another one the next time:%s", format, again)
			}
		}
	}
	var p picture
	if err := json.Unmarshal([]byte(draw("json")), &p); err != nil || len(p.Nodes) != 3 || len(p.Links) != 2 || len(p.Clusters) != 4 || p.Links[0] != (mapLink{idA, idB, 2048, 200, 1}) {
		t.Errorf("as JSON it is %+v, %v", p, err)
	}
}

func TestReportsThatDoNotFitAreRefused(t *testing.T) {
	a, b := views()
	b.Network = "other"
	for want, s := range map[string]any{
		`is of network "other" and not "demo": name files of one network`: b,
		`write it with "iris status --json"`:                              []int{1},
		`is not of a node that has others`:                                node.Status{Dev: true},
	} {
		file := filepath.Join(t.TempDir(), "report.json")
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := newPicture(a).report(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("of %s it says %v", raw, err)
		}
	}
}
