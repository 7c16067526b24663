package main

import (
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/node"
)

func TestTableSaysWhatCounts(t *testing.T) {
	var b strings.Builder
	err := writeTable(&b, &node.Status{
		Version:  "v1",
		PID:      7,
		Network:  "demo",
		Node:     "0011223344556677aaaaaaaaaaaaaaaa",
		State:    "active",
		Started:  time.Now().Add(-90 * time.Second),
		Relay:    []string{"127.0.0.1:55555", "[::1]:55555"},
		Address:  []string{"192.0.2.1:14142"},
		Programs: 3,
		Tunnels:  2,
		Abroad:   1,
		Clusters: []node.NameStatus{{Name: "echo", Members: 2, Load: 5, Nodes: 3, On: []string{"8899aabb000000000000000000000000"}, Watched: true, Taken: 40, Passed: 50, Sent: 1}, {Name: "a b\x1b[31m\u202e", Members: 1}, {Name: " "}},
		Topics:   []node.NameStatus{{Name: "news", Members: 4, Sent: 14, Arrived: 3}},
		Peers: []node.PeerStatus{
			{Node: "8899aabb000000000000000000000000", State: "active", Address: []string{"192.0.2.2:14142"}, Linked: true, Tunnels: 1},
			{Node: "ccddeeff000000000000000000000000", State: "active", Via: "8899aabb000000000000000000000000", Silent: true},
		},
		Links: []node.LinkStatus{{Node: "8899aabb000000000000000000000000", Address: "192.0.2.2:14142", Dialled: true,
			Since: time.Now().Add(-61 * time.Second), RTT: 0.25, Received: 2048, Sent: 512, Software: "iris v1", Key: 1,
			Waiting: node.LaneStatus{Requests: 1024, Bulk: 1024}}},
		Discovery: &node.DiscoveryStatus{
			Sources:    []node.SourceStatus{{Name: "peers", Found: 2}, {Name: "cache", Ended: "the file is\nlocked"}, {Name: "etcd", Trouble: "nobody answers"}},
			Interfaces: []string{"eth0", "wlan0"}, Interval: 64, Scanning: true,
			Sent: map[string]uint64{"beacons": 12, "answers": 0}, Heard: map[string]uint64{"answers": 3},
			Refused: map[string]uint64{"packet_key": 4}, Dials: map[string]uint64{"begun": 2},
		},
		Memory:  node.MemoryStatus{Used: 1536, Limit: 96 << 20},
		Sent:    node.SentStatus{Requests: 9000, Replies: 12, Events: 14},
		Ended:   map[string]uint64{"orderly": 6, "lost": 0, "slow": 2},
		Dropped: map[string]uint64{"late replies": 0},
		Refused: map[string]uint64{"knock_key": 4},
		Keys:    []uint64{0, 1},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = `network   demo
node      0011223344556677aaaaaaaaaaaaaaaa, active
address   192.0.2.1:14142
relay     127.0.0.1:55555 [::1]:55555
up        1m30s
process   7, version v1
programs  3
tunnels   2, 1 of them to other nodes
memory    1.5 KiB of 96 MiB hold payload

SENT BY PROGRAMS  IN ALL  MEAN PER SECOND
requests          9000    100
replies           12      0.13
broadcasts        0       0
events            14      0.16
tunnels           0       0

CLUSTER              MEMBERS  LOAD  TAKEN  BROADCASTS  PASSED ON  OTHER NODES  ON
echo                 2        5     40     1           50         3            8899aabb ...
"a b\x1b[31m\u202e"  1        0     0      0           0          -            -
" "                  0        0     0      0           0          -            -

TOPIC  SUBSCRIBERS  PUBLISHED  ARRIVED  OTHER NODES  ON
news   4            14         3        -            -

OTHER NODE  STATE   LINK                        TUNNELS  ADDRESS
8899aabb    active  yes                         1        192.0.2.2:14142
ccddeeff    active  by way of 8899aabb, silent  0        -

LINK TO   DIALLED             UP    ROUND TRIP  RECEIVED  SENT   WAITING  KEY  SOFTWARE
8899aabb  at 192.0.2.2:14142  1m1s  0.25 ms     2 KiB     512 B  2 KiB    2    iris v1

OTHER NODES BY  FOUND  STATE
peers           2      well
cache           0      the file is\nlocked
etcd            0      nobody answers

interfaces  eth0 wlan0
beacons     one in 1m4s at most
scan        under way

DISCOVERY PACKETS SENT
beacons  12

DISCOVERY PACKETS HEARD
answers  3

DISCOVERY PACKETS REFUSED
packet_key  4

DIALS OF WHAT WAS FOUND
begun  2

CONNECTIONS ENDED
orderly  6
slow     2

REFUSED BETWEEN NODES
knock_key  4
`
	if got := b.String(); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

func TestRatesAreWhatWasSentBetweenTwoLooks(t *testing.T) {
	since := time.Now()
	before := &node.Status{Sent: node.SentStatus{Requests: 100, Events: 7}, Links: []node.LinkStatus{{Node: "a", Since: since, Received: 1000, Sent: 5}}}
	now := &node.Status{Sent: node.SentStatus{Requests: 300, Events: 7}, Links: []node.LinkStatus{
		{Node: "a", Since: since, Received: 3000, Sent: 5},
		{Node: "b", Since: since, Sent: 50}, // a new one
	}}
	r := ratesOf(before, now, 2)
	if r.Requests != 100 || r.Events != 0 || r.Links["a"] != (linkRate{1000, 0}) || r.Links["b"] != (linkRate{0, 25}) {
		t.Errorf("the rates are %+v", r)
	}
	var b strings.Builder
	if err := writeTable(&b, now, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NOW PER SECOND\n", "\nrequests          300     100\n", "RECEIVED NOW  SENT NOW", " 1000 B/s ", " 25 B/s "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, b.String())
		}
	}
}

func TestOddNamesAreQuoted(t *testing.T) {
	for name, want := range map[string]string{
		"echo":       "echo",
		"two words":  "two words",
		"caf\u00e9":  "caf\u00e9",
		"":           `""`,
		" x":         `" x"`,
		"a\tb":       `"a\tb"`,
		"a\nb":       `"a\nb"`,
		"\x1b[2J":    `"\x1b[2J"`,
		"\xff\xfe":   `"\xff\xfe"`,
		"rtl\u202e":  `"rtl\u202e"`,
		`"`:          `"\""`,
		"zero\u200b": `"zero\u200b"`,
	} {
		if got := printable(name); got != want {
			t.Errorf("printable(%q) = %s, want %s", name, got, want)
		}
	}
}

func TestVisibleTextIsHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"":           "",
		"two words ": "two words ",
		`a "b" \n`:   `a "b" \n`,
		"caf\u00e9":  "caf\u00e9",
		"a\nb":       `a\nb`,
		"\x1b[2J":    `\x1b[2J`,
		"\u009b2J":   `\u009b2J`,
		"\xff":       `\xff`,
		"rtl\u202e":  `rtl\u202e`,
		"a\t\"b\"":   `a\t\"b\"`,
		"\x7f":       `\x7f`,
	} {
		if got := visible(text); got != want {
			t.Errorf("visible(%q) = %s, want %s", text, got, want)
		}
	}
}
