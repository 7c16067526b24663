package hosts

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/project-iris/iris/internal/discovery/discoverytest"
	"github.com/project-iris/iris/node"
)

// Hosts become one network by names in DNS alone. Programs are served while no server
// answers.
func TestNodesFindEachOtherByDNS(t *testing.T) {
	t.Parallel()
	n := &network{lan: newLAN(t, 4)}
	server := n.lan.Hosts[3]
	thePlace.need(t)
	n.key = newKey(t)
	iris := asking(t, server.IPv4)
	start := func(i int, name string) {
		t.Helper()
		one, err := n.lan.Hosts[i].StartNode(withLimit(t), iris, withinPlace(t), "--net", secret+" network", "--key", n.key, "--discover", "dns:"+name)
		if err != nil {
			t.Fatal(err)
		}
		n.nodes = append(n.nodes, one)
	}
	start(0, "services.iris.test")
	n.member(t, 0, secret, newService("served", newLedger()))
	if reply, err := n.client(t, 0).Request(withLimit(t), secret, nil); err != nil || string(reply) != "served" {
		t.Errorf("without DNS a local request is answered %q, %v", reply, err)
	}
	n.await(t, 0, "it has trouble", func(s *node.Status) bool {
		one := s.Discovery.Sources[len(s.Discovery.Sources)-1]
		return one.Name == "dns:services.iris.test" && one.Trouble != "" && one.Failed > 0
	})
	if line := n.line(t, 0, "has trouble"); !strings.Contains(line, server.IPv4.String()) {
		t.Errorf("the log says %q", line)
	}

	zone := discoverytest.Zone{Addrs: map[string][]netip.Addr{}, SRV: map[string][]dnsmessage.SRVResource{}}
	for _, h := range n.lan.Hosts[:3] {
		name, service := h.Name+".iris.test.", "_iris._tcp.services.iris.test."
		zone.Addrs[name] = []netip.Addr{h.IPv4, h.IPv6}
		zone.Addrs["hosts.iris.test."] = append(zone.Addrs["hosts.iris.test."], h.IPv4)
		zone.SRV[service] = append(zone.SRV[service], dnsmessage.SRVResource{Target: dnsmessage.MustNewName(name), Port: 14142})
	}
	server.serveDNS(t, zone)
	start(1, "services.iris.test")
	start(2, "hosts.iris.test")
	for i := range n.nodes {
		n.await(t, i, "it knows the others", has(2))
	}
	n.await(t, 0, "it has no trouble any more", func(s *node.Status) bool {
		one := s.Discovery.Sources[len(s.Discovery.Sources)-1]
		return one.Trouble == "" && one.Found > 0
	})
}

// asking returns a program that is iris, and asks a DNS server of its own.
func asking(t *testing.T, server netip.Addr) string {
	t.Helper()
	dir := withinPlace(t)
	config, script := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "iris")
	text := "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind " + config + " /etc/resolv.conf && exec \"$@\"' sh " + thePlace.iris() + " \"$@\"\n"
	for _, err := range []error{
		os.WriteFile(config, []byte("nameserver "+server.String()+"\noptions timeout:1 attempts:1\n"), 0o644),
		os.WriteFile(script, []byte(text), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return script
}

// serveDNS has the host tell what is in the zone until the end of the test.
func (h *Host) serveDNS(t *testing.T, zone discoverytest.Zone) {
	t.Helper()
	var at net.PacketConn
	if err := h.Do(func() (err error) {
		at, err = net.ListenPacket("udp4", net.JoinHostPort(h.IPv4.String(), "53"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		at.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		query := make([]byte, 1<<10)
		for {
			n, from, err := at.ReadFrom(query)
			if err != nil {
				return
			}
			if answer, err := zone.Answer(query[:n]); err == nil {
				at.WriteTo(answer, from)
			}
		}
	}()
}

// Hosts become one network by what a command writes, here with a port and without.
func TestNodesFindEachOtherByCommand(t *testing.T) {
	t.Parallel()
	n := &network{lan: newLAN(t, 3)}
	thePlace.need(t)
	n.key = newKey(t)
	command := "exec:printf '# all of them, commas and all\\n"
	for i, h := range n.lan.Hosts {
		command += h.IPv4.String() + []string{"", ":" + port}[i%2] + "\\n"
	}
	for i := range n.lan.Hosts {
		n.start(t, i, "--discover", command+"'")
	}
	for i := range n.nodes {
		n.await(t, i, "it knows the others", has(2))
	}
}
