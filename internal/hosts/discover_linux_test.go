package hosts

import (
	"fmt"
	"testing"
	"time"
)

// Nodes find each other with nothing configured but the network's name and key: a
// service of the first host answers on another within a second of the start of the
// node there. A machine that is busy with other things makes it longer, so the best
// of three newcomers counts.
func TestNodesFindEachOther(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*LAN) error
		most    time.Duration
	}{
		{"BothFamilies", func(*LAN) error { return nil }, time.Second},
		{"IPv4", func(l *LAN) error { return l.without("IPv6") }, time.Second},
		{"IPv6", func(l *LAN) error { return l.without("IPv4") }, time.Second},
		{"MulticastBlocked", (*LAN).blockMulticast, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			const newcomers = 3
			n := &network{lan: newLAN(t, 1+newcomers)}
			if err := c.prepare(n.lan); err != nil {
				t.Fatal(err)
			}
			thePlace.need(t)
			n.key = newKey(t)
			n.start(t, 0)
			n.member(t, 0, secret, newService("found", newLedger()))
			best := time.Hour
			for i := range newcomers {
				began := time.Now()
				n.start(t, 1+i)
				reply, err := n.client(t, 1+i).Request(withLimit(t), secret, nil)
				took := time.Since(began)
				if err != nil || string(reply) != "found" {
					t.Fatalf("the reply is %q, %v", reply, err)
				}
				t.Logf("a service of the first host answered %v after the start of another node", took.Round(time.Millisecond))
				best = min(best, took)
			}
			if best > c.most {
				t.Errorf("it took more than %v", c.most)
			}
		})
	}
}

// without takes the addresses of a family from all hosts.
func (l *LAN) without(family string) error {
	for _, h := range l.Hosts {
		address := fmt.Sprintf("%v/24", h.IPv4)
		if family == "IPv6" {
			address = fmt.Sprintf("%v/64", h.IPv6)
		}
		if err := h.thread.ip("addr del " + address + " dev eth0"); err != nil {
			return err
		}
	}
	return nil
}

// blockMulticast has the bridge drop what is sent to groups, as some networks do.
func (l *LAN) blockMulticast() error {
	for _, h := range l.Hosts {
		if err := l.bridge.ip("link set " + h.port + " type bridge_slave mcast_flood off"); err != nil {
			return err
		}
	}
	return nil
}
