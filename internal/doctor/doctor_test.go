package doctor

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/node"
)

var epoch = time.UnixMilli(1735689600000)

func before(d time.Duration) time.Time { return epoch.Add(-d) }

// report returns that of the node of host i, of two in a /24, which has been alone for
// an hour and looks for others in all ways.
func report(i int) *node.Report {
	ip := fmt.Sprintf("10.0.0.%d", i)
	return &node.Report{
		At: epoch,
		Status: &node.Status{
			Network: "test", Node: fmt.Sprintf("%032d", i), Started: before(time.Hour), Address: []string{ip + ":14142"},
			Discovery: &node.DiscoveryStatus{Sent: map[string]uint64{"beacons": 20}, Heard: map[string]uint64{}},
		},
		Keys:     []string{"SHA256:key"},
		Listen:   "[::]:14142",
		Discover: []string{node.Auto},
		Interfaces: []node.InterfaceReport{
			{Name: "lo", Up: true, Running: true, Loopback: true, MTU: 65536, Addresses: []string{"127.0.0.1/8", "::1/128"}},
			{Name: "eth0", Up: true, Running: true, Multicast: true, MTU: 1500, Addresses: []string{ip + "/24", "fe80::1/64"}},
		},
	}
}

// link links the node of r to that of host i.
func link(r *node.Report, i int, dialled bool) {
	id, at := fmt.Sprintf("%032d", i), fmt.Sprintf("10.0.0.%d:14142", i)
	r.Status.Peers = append(r.Status.Peers, node.PeerStatus{Node: id, Address: []string{at}, Linked: true})
	r.Status.Links = append(r.Status.Links, node.LinkStatus{Node: id, Address: at, Dialled: dialled, Since: before(time.Minute)})
	r.ToGroup = 5
	r.Status.Discovery.Heard["beacons"] = 5
}

func refuse(r *node.Report, code, address string, ago time.Duration) {
	r.Refusals = append(r.Refusals, node.RefusalReport{At: before(ago), Code: code, Address: address})
}

func dial(r *node.Report, code, address string, ago time.Duration, held float64) {
	r.Dials = append(r.Dials, node.DialReport{At: before(ago), Code: code, Address: address, Held: held})
}

func find(r *node.Report, source, from, address string, ago time.Duration) {
	r.Found = append(r.Found, node.FoundReport{At: before(ago), Source: source, From: from, Address: []string{address}})
}

// What internal/hosts does not set up with real nodes.
func TestCauses(t *testing.T) {
	const second, other = time.Second, "10.0.0.2:14142"
	for _, c := range []struct {
		name  string
		own   func(*node.Report)
		other func(*node.Report) // nil: no second report
		want  string
	}{
		{"NothingKnown", func(*node.Report) {}, nil, Alone},
		{"AnotherNetworkIsNoConcern", func(r *node.Report) { link(r, 2, true); refuse(r, "packet_key", "10.0.0.3", second) }, nil, ""},
		{"ForeignerKnocks", func(r *node.Report) { link(r, 2, true); refuse(r, "knock_key", "10.0.0.3", second) }, nil, Key},
		{"LinkedSince", func(r *node.Report) { link(r, 2, true); refuse(r, "knock_time", "10.0.0.2", 2*time.Minute) }, nil, ""},
		{"LongAgo", func(r *node.Report) { link(r, 2, true); refuse(r, "knock_time", "10.0.0.3", time.Hour) }, nil, ""},
		{"PortScan", func(r *node.Report) { refuse(r, "knock_none", "10.0.0.9", second) }, nil, Alone},
		{"KeyWithoutName", func(r *node.Report) { refuse(r, "peer_tag", other, second) }, nil, Name},
		{"Clock", func(r *node.Report) { refuse(r, "peer_time", other, second) }, nil, Clock},
		{"Newer", func(r *node.Report) { refuse(r, "packet_version", "10.0.0.2", second) }, nil, Version},
		{"NoDescriptors", func(r *node.Report) { refuse(r, "accept_files", "[::]:14142", second) }, nil, Full},
		{"CachedAddressIsVacant", func(r *node.Report) { dial(r, "dial_refused", "10.0.0.7:14142", second, 0) }, nil, Port},
		{"NodeDiedWhileOthersLive", func(r *node.Report) {
			link(r, 2, true)
			find(r, "multicast and scan", "10.0.0.3", "10.0.0.3:14142", 5*time.Minute)
			dial(r, "dial_refused", "10.0.0.3:14142", second, 0)
		}, nil, ""},
		{"NamedPeerIsDownWhileOthersLive", func(r *node.Report) {
			link(r, 2, true)
			r.Peers = []string{"10.0.0.3:14142"}
			dial(r, "dial_timeout", "10.0.0.3:14142", second, 0)
		}, nil, Firewall},
		{"HeardByIPv6Alone", func(r *node.Report) {
			find(r, "multicast and scan", "fe80::2%eth0", other, 2*second)
			dial(r, "dial_timeout", other, second, 0)
		}, nil, Firewall},
		{"KnockDoesNotArrive", func(r *node.Report) { dial(r, "dial_closed", other, second, 2.01) }, nil, MTU},
		{"SmallMTU", func(r *node.Report) { r.Interfaces[1].MTU = 600 }, nil, MTU},
		{"PortTaken", func(r *node.Report) { r.Taken = "address already in use" }, nil, Taken},
		{"SystemRefuses", func(r *node.Report) {
			r.Status.Discovery.Sources = []node.SourceStatus{{Name: "multicast and scan", Trouble: "too many open files"}}
		}, nil, Source},
		{"LinkedByItsOwnDial", func(r *node.Report) {
			link(r, 2, false)
			find(r, "multicast and scan", "10.0.0.2", other, 2*second)
			r.Found[0].Node = r.Status.Links[0].Node
			dial(r, "dial_timeout", other, second, 0)
		}, nil, Advertise},
		{"DialledBeforeItWasUp", func(r *node.Report) { link(r, 2, false); dial(r, "dial_refused", other, 2*time.Minute, 0) }, nil, ""},
		{"LargeNetwork", func(r *node.Report) { link(r, 2, true); refuse(r, "welcome_full", "10.0.0.3:14142", second) }, nil, ""},
		{"KnownSince", func(r *node.Report) {
			link(r, 2, true)
			r.Status.Peers = append(r.Status.Peers, node.PeerStatus{Node: "3", Address: []string{"10.0.0.3:14142"}, Via: "2"})
			refuse(r, "knock_key", "10.0.0.3", second)
		}, nil, ""},
		{"LinkedByItsDialFirst", func(r *node.Report) { link(r, 2, false) }, nil, ""},
		{"NoMulticastAmongLinked", func(r *node.Report) {
			link(r, 2, true)
			r.ToGroup, r.Status.Discovery.Heard = 0, map[string]uint64{"answers": 1}
		}, nil, Multicast},

		{"Met", func(r *node.Report) { link(r, 2, true) }, func(r *node.Report) { link(r, 1, false) }, ""},
		{"OtherMTU", func(*node.Report) {}, func(r *node.Report) { r.Interfaces[1].MTU = 9000 }, Multicast},
		{"RouterBetween", func(r *node.Report) {
			r.Interfaces[1].Addresses, r.Status.Address = []string{"10.0.7.1/24"}, []string{"10.0.7.1:14142"}
		}, func(*node.Report) {}, Subnets},
		{"OnlyContainersInCommon", func(r *node.Report) {
			r.Interfaces[1].Addresses = []string{"10.0.7.1/24", "172.17.0.1/16"}
		}, func(r *node.Report) { r.Interfaces[1].Addresses = []string{"10.0.0.2/24", "172.17.0.1/16"} }, Subnets},
		{"RestartedSince", func(r *node.Report) {
			refuse(r, "knock_time", "10.0.0.2", time.Minute)
			dial(r, "dial_refused", other, time.Minute, 0)
		},
			func(r *node.Report) { r.Status.Started = before(second) }, Alone},
		{"RollOverRoundSkipped", func(*node.Report) {}, func(r *node.Report) { r.Keys = []string{"SHA256:new", "SHA256:key"} }, Key},
		{"ClockOfTheOtherIsAhead", func(*node.Report) {}, func(r *node.Report) { r.At = r.At.Add(27 * time.Hour) }, Clock},
		{"ReportOfYesterday", func(*node.Report) {}, func(r *node.Report) { r.At = r.At.Add(-25 * time.Hour) }, Multicast},
		{"ListensForNobody", func(r *node.Report) { r.Peers = []string{other}; dial(r, "dial_refused", other, second, 0) },
			func(r *node.Report) { r.Listen = "" }, Port},
		{"DevThere", func(*node.Report) {}, func(r *node.Report) { r.Status.Dev = true }, Dev},
		{"ThirdHostIsNoConcern", func(r *node.Report) { refuse(r, "packet_key", "10.0.0.3", second) }, func(*node.Report) {}, Multicast},
		{"OnlyOneLooks", func(r *node.Report) { r.Discover = []string{node.Scan} }, func(r *node.Report) { r.Discover = nil }, NoSearch},
	} {
		own := report(1)
		c.own(own)
		var its *node.Report
		if c.other != nil {
			its = report(2)
			c.other(its)
		}
		found := Diagnose(own, its)
		if got := first(found); got != c.want {
			t.Errorf("%s: %+v, want %q first", c.name, found, c.want)
		}
		for _, f := range found {
			if f.Text == "" || len(f.Do) == 0 {
				t.Errorf("%s: %+v says not what to do", c.name, f)
			}
		}
	}
}

// The manual has every cause.
func TestManualHasTheCauses(t *testing.T) {
	manual, err := os.ReadFile("../../docs/discovery.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("doctor.go")
	if err != nil {
		t.Fatal(err)
	}
	causes := regexp.MustCompile(`(?m)^\t\w+ += "(.+?)"`).FindAllSubmatch(source, -1)
	if len(causes) < 20 {
		t.Fatalf("found %d causes", len(causes))
	}
	for _, c := range causes {
		if !strings.Contains(string(manual), "`"+string(c[1])+"`") {
			t.Errorf("docs/discovery.md does not have %s", c[1])
		}
	}
}

func first(found []Finding) string {
	if len(found) == 0 {
		return ""
	}
	return found[0].Cause
}
