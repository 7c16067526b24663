package hosts

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/doctor"
	"github.com/project-iris/iris/node"
)

// A broken is two hosts whose nodes do not meet, or not as they should, and what iris
// doctor has to say first of that.
type broken struct {
	name     string
	breaks   func(*LAN) error
	flags    [2][]string // of the nodes
	net, key bool        // the second node has another
	one      bool        // there is no second node
	taken    bool        // another program has its port, takes connections and says nothing

	want [2]string // cause, from the report of each host alone
	pair string    // from both
	side int       // which host is to be changed; 0: either

	lan   *LAN
	nodes []*Node
}

var setups = []*broken{
	{name: "AllWell"},
	{name: "MulticastBlocked", breaks: (*LAN).blockMulticast, want: [2]string{doctor.Multicast, doctor.Multicast}, pair: doctor.Multicast},
	{
		name: "MulticastBlockedAndNoScan", breaks: (*LAN).blockMulticast,
		flags: [2][]string{{"--discover", "multicast"}, {"--discover", "multicast"}},
		want:  [2]string{doctor.Alone, doctor.Alone}, pair: doctor.Multicast,
	},
	{
		name: "FirewallDrops", breaks: filter("meta l4proto { tcp, udp } th dport 14142 drop"),
		want: [2]string{doctor.Firewall, doctor.Alone}, pair: doctor.Firewall, side: 2,
	},
	{
		name: "FirewallRejects", breaks: filter("tcp dport 14142 reject with tcp reset"),
		flags: [2][]string{{"--listen", "none"}, nil},
		want:  [2]string{doctor.Firewall, doctor.Alone}, pair: doctor.Firewall, side: 2,
	},
	{
		name:  "NothingListens",
		flags: [2][]string{{"--discover", "none", "--peer", "10.77.0.2"}, {"--discover", "none", "--listen", ":15000"}},
		want:  [2]string{doctor.Port, doctor.NoSearch}, pair: doctor.Port, side: 1,
	},
	{
		name: "PortOfAnotherProgram", taken: true,
		flags: [2][]string{{"--discover", "none", "--peer", "10.77.0.2"}, {"--discover", "none"}},
		want:  [2]string{doctor.MTU, doctor.NoSearch}, pair: doctor.Port, side: 1,
	},
	{name: "OtherKey", key: true, want: [2]string{doctor.Key, doctor.Key}, pair: doctor.Key},
	{name: "OtherName", net: true, want: [2]string{doctor.Key, doctor.Key}, pair: doctor.Name},
	{
		name: "OtherKeyOfANamedPeer", key: true,
		flags: [2][]string{{"--discover", "none", "--peer", "10.77.0.2"}, {"--discover", "none"}},
		want:  [2]string{doctor.Closed, doctor.Key}, pair: doctor.Key,
	},
	{
		name: "OtherInterface", flags: [2][]string{{"--interface", "eth7"}, nil},
		want: [2]string{doctor.Interface, doctor.Alone}, pair: doctor.Interface, side: 1,
	},
	{
		name: "LargePacketsAreLost", breaks: func(l *LAN) error {
			rule := "meta l4proto tcp meta length > 600 drop"
			return errors.Join(l.Hosts[0].filter("input", rule), l.Hosts[1].filter("input", rule))
		},
		want: [2]string{doctor.MTU, doctor.MTU}, pair: doctor.MTU,
	},
	{
		name: "WrongAdvertise", flags: [2][]string{{"--listen", "none"}, {"--advertise", "10.77.0.99:14142"}},
		want: [2]string{doctor.Advertise, doctor.Advertise}, pair: doctor.Advertise, side: 2,
	},
	{
		name: "ListensOnLoopback", flags: [2][]string{nil, {"--listen", "127.0.0.1"}},
		want: [2]string{doctor.Alone, doctor.Loopback}, pair: doctor.Loopback, side: 2,
	},
	{
		name: "LooksForNobody", flags: [2][]string{{"--discover", "none"}, {"--discover", "none"}},
		want: [2]string{doctor.NoSearch, doctor.NoSearch}, pair: doctor.NoSearch,
	},
	{
		name: "LinkIsDown", breaks: func(l *LAN) error { return l.Hosts[0].thread.ip("link set eth0 down") },
		want: [2]string{doctor.NoNetwork, doctor.Alone}, pair: doctor.NoNetwork, side: 1,
	},
	{
		name: "CableIsOut", breaks: func(l *LAN) error { return l.Hosts[1].Unplug() },
		want: [2]string{doctor.Alone, doctor.NoNetwork}, pair: doctor.NoNetwork, side: 2,
	},
	{
		name:  "PeerIsUnknown",
		flags: [2][]string{{"--discover", "none", "--peer", "host2.invalid"}, {"--discover", "none"}},
		want:  [2]string{doctor.PeerName, doctor.NoSearch}, pair: doctor.PeerName, side: 1,
	},
	{
		name:  "PeerIsNobody",
		flags: [2][]string{{"--discover", "none", "--peer", "10.77.0.99"}, {"--discover", "none"}},
		want:  [2]string{doctor.Address, doctor.NoSearch}, pair: doctor.Address, side: 1,
	},
	{
		name:  "PeerIsItself",
		flags: [2][]string{{"--discover", "none", "--peer", "10.77.0.1"}, {"--discover", "none"}},
		want:  [2]string{doctor.PeerSelf, doctor.NoSearch}, pair: doctor.PeerSelf, side: 1,
	},
	{
		name: "NoFamilyInCommon", breaks: func(l *LAN) error {
			return errors.Join(l.Hosts[0].thread.ip("addr del fd77::1/64 dev eth0"), l.Hosts[1].thread.ip("addr del 10.77.0.2/24 dev eth0"))
		},
		want: [2]string{doctor.Alone, doctor.Alone}, pair: doctor.Interface,
	},
	{name: "AloneInTruth", one: true, want: [2]string{doctor.Alone}},
}

// filter has the firewall of the second host apply a rule to what comes in.
func filter(rule string) func(*LAN) error {
	return func(l *LAN) error { return l.Hosts[1].filter("input", rule) }
}

// filter has the firewall of h apply a rule to the input or output.
func (h *Host) filter(hook, rule string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader("table inet t { chain c { type filter hook " + hook + " priority 0; " + rule + "\n}\n}\n")
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := h.Do(cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, output.String())
	}
	return nil
}

// start makes the hosts, breaks them, and starts the nodes.
func (b *broken) start(t *testing.T, key, otherKey string) {
	b.lan, b.nodes = newLAN(t, 2), nil
	if b.breaks != nil {
		if err := b.breaks(b.lan); err != nil {
			t.Fatalf("%s: %v", b.name, err)
		}
	}
	if b.taken {
		l, err := b.lan.Hosts[1].Listen("tcp", "10.77.0.2:"+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	for i, h := range b.lan.Hosts {
		net, file := secret+" network", key
		if i == 1 && b.net {
			net = "other " + secret
		}
		if i == 1 && b.key {
			file = otherKey
		}
		if i == 0 || !b.one {
			b.nodes = append(b.nodes, thePlace.start(t, h, append([]string{"--net", net, "--key", file}, b.flags[i]...)...))
		}
	}
}

// The doctor names the right cause first, from the report of one host and from those of
// both, and finds nothing where nothing is wrong. All set-ups run side by side.
func TestDoctorNamesTheCause(t *testing.T) {
	t.Parallel()
	newLAN(t, 0) // or skip
	thePlace.need(t)
	key, otherKey := newKey(t), newKey(t)
	for _, b := range setups {
		b.start(t, key, otherKey)
	}
	for _, b := range setups {
		t.Run(b.name, func(t *testing.T) {
			b.await(t)
			b.command(t)
		})
	}
}

// await waits until the findings are as they should be.
func (b *broken) await(t *testing.T) {
	for end := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		var reports []*node.Report
		var wrong []string
		young := false
		for i, n := range b.nodes {
			r := new(node.Report)
			if err := n.Ask(withLimit(t), "/report", r); err != nil {
				t.Fatal(err)
			}
			reports = append(reports, r)
			young = young || r.At.Sub(r.Status.Started) < 6*time.Second
			if found := doctor.Diagnose(r, nil); first(found) != b.want[i] {
				wrong = append(wrong, fmt.Sprintf("host %d: %+v, want %q", i+1, found, b.want[i]))
			}
		}
		for i := range reports {
			if b.one {
				break
			}
			found := doctor.Diagnose(reports[i], reports[1-i])
			if first(found) != b.pair || b.side != 0 && found[0].There != (b.side != i+1) {
				wrong = append(wrong, fmt.Sprintf("host %d, with the report of the other: %+v, want %q on host %d", i+1, found, b.pair, b.side))
			}
		}
		if len(wrong) == 0 && !young {
			return
		}
		if time.Now().After(end) {
			for _, r := range reports {
				text, _ := json.Marshal(r)
				t.Logf("%s", text)
			}
			t.Fatalf("%s", strings.Join(wrong, "\n"))
		}
	}
}

func first(found []doctor.Finding) string {
	if len(found) == 0 {
		return ""
	}
	return found[0].Cause
}

// command has the command say the same.
func (b *broken) command(t *testing.T) {
	run := func(i int, args ...string) (string, int) {
		cmd := exec.CommandContext(withLimit(t), thePlace.iris(), append([]string{"doctor", "--state", b.nodes[i].state}, args...)...)
		output, err := cmd.Output()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(output), cmd.ProcessState.ExitCode()
	}
	check := func(want, output string, status int) {
		t.Helper()
		if want == "" && (status != 0 || !strings.HasPrefix(output, "all is well")) || want != "" && (status != 1 || !strings.HasPrefix(output, want)) {
			t.Errorf("exit status %d, and %q; want %q", status, output, want)
		}
		t.Log("\n" + output)
	}
	output, status := run(0)
	check(b.want[0], output, status)
	if b.one {
		return
	}
	file := filepath.Join(t.TempDir(), "report")
	if output, status := run(1, "--write", file); output != "" || status != 0 {
		t.Fatalf("--write says %q, %d", output, status)
	}
	output, status = run(0, "--report", file)
	check(b.pair, output, status)
}
