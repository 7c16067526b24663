package hosts

import "testing"

// Three hosts become one network in each way that needs nothing beside them. DNS, etcd
// and commands have tests of their own.
func TestThreeHostsBecomeOneNetwork(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string]func(first *Host) []string{
		"multicast": func(*Host) []string { return []string{"--discover", "multicast"} },
		"scan":      func(*Host) []string { return []string{"--discover", "scan"} },
		"peer":      func(first *Host) []string { return []string{"--discover", "none", "--peer", first.IPv4.String()} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &network{lan: newLAN(t, 3)}
			thePlace.need(t)
			n.key = newKey(t)
			for i := range n.lan.Hosts {
				n.start(t, i, flags(n.lan.Hosts[0])...)
			}
			for i := range n.nodes {
				n.await(t, i, "it knows the others", has(2))
			}
		})
	}
}
