package hosts

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestCutIsOneWay(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 3) // or skip
	a, b, c := l.Hosts[0], l.Hosts[1], l.Hosts[2]
	for _, address := range []func(*Host) netip.Addr{func(h *Host) netip.Addr { return h.IPv4 }, func(h *Host) netip.Addr { return h.IPv6 }} {
		at, from := datagrams(t, b, address(b)), datagrams(t, a, address(a))
		if !at.hears(t, a, limit) || !from.hears(t, b, limit) {
			t.Fatal("two hosts do not hear each other")
		}
		if err := a.CutTo(b); err != nil {
			t.Fatal(err)
		}
		if at.hears(t, a, 100*time.Millisecond) {
			t.Error("a host hears one that was cut towards it")
		}
		if !from.hears(t, b, limit) || !datagrams(t, c, address(c)).hears(t, a, limit) {
			t.Error("a host that was cut towards one does not hear that, or is not heard by another")
		}
		if err := a.MendTo(b); err != nil {
			t.Fatal(err)
		}
		if !at.hears(t, a, limit) {
			t.Error("a host does not hear one that was mended")
		}
	}
}

func TestSplitHostsReachTheirOwn(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 4) // or skip
	reaches := func(from, to int) bool {
		wait := limit
		if from/2 != to/2 {
			wait = 100 * time.Millisecond
		}
		return datagrams(t, l.Hosts[to], l.Hosts[to].IPv4).hears(t, l.Hosts[from], wait)
	}
	for range 2 {
		if err := l.Split(l.Hosts[2:]); err != nil {
			t.Fatal(err)
		}
		for from := range 4 {
			for to := range 4 {
				if from != to && reaches(from, to) != (from/2 == to/2) {
					t.Errorf("split: host %d reaches host %d: %v", from, to, from/2 != to/2)
				}
			}
		}
		for _, h := range l.Hosts[2:] {
			if err := h.Mend(); err != nil {
				t.Fatal(err)
			}
		}
		if !datagrams(t, l.Hosts[3], l.Hosts[3].IPv4).hears(t, l.Hosts[0], limit) {
			t.Error("a host of the one group does not reach one of the other when they are mended")
		}
	}
}

// An ear hears datagrams that come to a host.
type ear struct {
	conn *net.UDPConn
	told int // how many texts it was to hear
}

func datagrams(t *testing.T, h *Host, ip netip.Addr) *ear {
	t.Helper()
	e := new(ear)
	if err := h.Do(func() (err error) {
		e.conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.conn.Close() })
	return e
}

// hears has a host send until something comes, for a time at most.
func (e *ear) hears(t *testing.T, from *Host, wait time.Duration) bool {
	t.Helper()
	e.told++
	text := fmt.Sprint(e.told)
	nc, err := from.Dial(t.Context(), "udp", e.conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	buf := make([]byte, 16)
	for until := time.Now().Add(wait); time.Now().Before(until); {
		nc.Write([]byte(text)) // what nobody listens for is an error of the next
		e.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		for {
			n, err := e.conn.Read(buf)
			if err != nil {
				break
			}
			if string(buf[:n]) == text { // else it is one of before
				return true
			}
		}
	}
	return false
}
