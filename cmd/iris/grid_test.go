package main

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/node"
)

// TestListsFitTheTerminal shows each list in a narrow terminal and in a wide one.
func TestListsFitTheTerminal(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	const a, b = "8899aabb000000000000000000000000", "ccddeeff000000000000000000000000"
	s := &node.Status{
		Node: "00112233000000000000000000000000",
		Clusters: []node.NameStatus{
			{Name: "echo", Members: 2, Load: 5, Nodes: 2, On: []string{a, b}, Watched: true, Taken: 123456789, Passed: 50, Sent: 1},
			{Name: "eu-west.invoices.reconciliation.nightly", Members: 1, Taken: 3},
			{Name: "請求書の照合", Members: 1, Nodes: 17, On: []string{a}, Watched: true},
		},
		Topics: []node.NameStatus{{Name: "prices", Members: 4, Nodes: 1, On: []string{b}, Watched: true, Sent: 14, Arrived: 3}},
		Peers: []node.PeerStatus{
			{Node: a, State: "active", Address: []string{"192.0.2.2:14142", "[2001:db8::2]:14142"}, Linked: true, Tunnels: 1},
			{Node: b, State: "active", Via: a, Silent: true},
		},
		Links: []node.LinkStatus{{Node: a, Address: "[2001:db8::1234:5678:9abc]:14142", Dialled: true, Since: ago(26*time.Hour + 5*time.Second),
			RTT: 0.25, Received: 2048, Sent: 5 << 30, Software: "iris v1.2.3-4-g0123456789", Waiting: node.LaneStatus{Requests: 1024, Bulk: 1024}}},
		Keys: []uint64{0},
	}
	tunnels, err := json.Marshal(node.TunnelList{Open: 3, Tunnels: []node.TunnelStatus{
		{Cluster: "db", Builder: "web", Here: true, Since: ago(90 * time.Second), ToMember: node.TunnelFlow{Octets: 5 << 20, Waiting: 100, Credit: 4 << 20}, FromMember: node.TunnelFlow{Octets: 12}},
		{Cluster: "eu-west.invoices.reconciliation.nightly", Node: b, Since: ago(time.Second), ToMember: node.TunnelFlow{Credit: 7, Messages: true}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	status, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var narrow, wide strings.Builder
	for _, l := range lists {
		answer := status
		if l.path == "/tunnels" {
			answer = tunnels
		}
		g, more, err := l.grid(answer)
		if err != nil || more != map[string]string{"tunnels": "3 tunnels are open in all"}[l.name] {
			t.Errorf("%s: %q, %v", l.name, more, err)
		}
		g.write(&narrow, 80)
		g.write(&wide, 200)
		for limit := range 200 {
			for _, line := range g.lines(limit) {
				if limit > 0 && cells(line) > limit {
					t.Errorf("%s: at %d cells a line has %d: %q", l.name, limit, cells(line), line)
				}
			}
		}
	}
	const wantNarrow = `
OTHER NODE  STATE   LINK                        TUNNELS  ADDRESS
8899aabb    active  yes                         1        192.0.2.2:1…8::2]:14142
ccddeeff    active  by way of 8899aabb, silent  0        -
CLUSTER             MEMBERS  LOAD  TAKEN      BROADCASTS  PASSED ON  OTHER NODES
echo                2        5     123456789  1           50         2
eu-west.i….nightly  1        0     3          0           0          -
請求書の照合        1        0     0          0           0          17
TOPIC   SUBSCRIBERS  PUBLISHED  ARRIVED  OTHER NODES  ON
prices  4            14         3        1            ccddeeff
CLUSTER              BUILT  OTHER END  OPEN FOR  TO MEMBER  FROM MEMBER  WAITING
db                   here   this node  1m30s     5 MiB      12 B         100 B
eu-west.i…n.nightly  there  ccddeeff   1s        0 B        0 B          0 B
LINK TO   DIALLED                  UP       ROUND TRIP  RECEIVED  SENT   WAITING
8899aabb  at [2001:db…9abc]:14142  26h0m5s  0.25 ms     2 KiB     5 GiB  2 KiB
`
	const wantWide = `
OTHER NODE  STATE   LINK                        TUNNELS  ADDRESS
8899aabb    active  yes                         1        192.0.2.2:14142 [2001:db8::2]:14142
ccddeeff    active  by way of 8899aabb, silent  0        -
CLUSTER                                  MEMBERS  LOAD  TAKEN      BROADCASTS  PASSED ON  OTHER NODES  ON
echo                                     2        5     123456789  1           50         2            8899aabb ccddeeff
eu-west.invoices.reconciliation.nightly  1        0     3          0           0          -            -
請求書の照合                             1        0     0          0           0          17           8899aabb ...
TOPIC   SUBSCRIBERS  PUBLISHED  ARRIVED  OTHER NODES  ON
prices  4            14         3        1            ccddeeff
CLUSTER                                  BUILT  OTHER END  OPEN FOR  TO MEMBER  FROM MEMBER  WAITING  CREDIT           BUILDER
db                                       here   this node  1m30s     5 MiB      12 B         100 B    4 MiB, 0 B       web
eu-west.invoices.reconciliation.nightly  there  ccddeeff   1s        0 B        0 B          0 B      7 messages, 0 B  -
LINK TO   DIALLED                              UP       ROUND TRIP  RECEIVED  SENT   WAITING  SOFTWARE
8899aabb  at [2001:db8::1234:5678:9abc]:14142  26h0m5s  0.25 ms     2 KiB     5 GiB  2 KiB    iris v1.2.3-4-g0123456789
`
	if got := "\n" + narrow.String(); got != wantNarrow {
		t.Errorf("in 80 cells the lists are%s\nwant%s", got, wantNarrow)
	}
	if got := "\n" + wide.String(); got != wantWide {
		t.Errorf("in 200 cells the lists are%s\nwant%s", got, wantWide)
	}
}

func TestLongNamesLoseTheirMiddle(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"echo", 4, "echo"},
		{"invoices.nightly", 9, "invo…htly"},
		{"invoices.nightly", 8, "invo…tly"},
		{"invoices", 2, "in"},
		{"invoices", 1, "i"},
		{"請求書の照合", 12, "請求書の照合"},
		{"請求書の照合", 7, "請…照合"},
		{"e\u0301e\u0301e\u0301e\u0301e\u0301", 5, "e\u0301e\u0301e\u0301e\u0301e\u0301"},
		{"", 3, ""},
	} {
		if got := cut(c.text, c.n); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.text, c.n, got, c.want)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		var b strings.Builder
		for range r.IntN(12) {
			b.WriteRune([]rune("ab請\u0301…🙂")[r.IntN(6)])
		}
		if n := r.IntN(12); cells(cut(b.String(), n)) > n {
			t.Fatalf("cut(%q, %d) = %q", b.String(), n, cut(b.String(), n))
		}
	}
}
