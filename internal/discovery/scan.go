package discovery

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// How fast a scan is. The burst is for a /24: it is through with one 5 s after the
// node was alone. It costs the network a hundred questions of ARP a second, for 3 s.
const (
	scanAfter = 2 * time.Second // alone: until then multicast may do
	scanBurst = 5 * time.Second // alone: until then 100/s
	scanFirst = time.Minute     // alone: until then 20/s; from then on 2/s

	burstPause  = 10 * time.Millisecond
	firstPause  = 50 * time.Millisecond
	scanPause   = 500 * time.Millisecond
	scanLook    = time.Minute      // until it is looked again whether there is something to scan
	scanMost    = 4096             // addresses that a subnet may have
	scanNear    = 16               // on either side of the own address: they come first
	groupWorks  = 30 * time.Minute // after multicast was heard from a subnet
	scanAtATime = 20               // probes, when the clock has moved on
)

// A scan says which addresses to probe, and when: those of the subnets that this
// node is in.
type scan struct {
	random  *rand.Rand
	lowest  func(netip.Prefix) bool
	subnets []*subnet
	alone   time.Time // since when; zero: there are others
	at      time.Time // of the next probe, or when to look whether there is one; zero: never
	turn    int
	on      bool // there is something to probe
}

// A subnet is scanned in an order of its own, again and again: first what is near the
// own address, as hosts that belong together often are, then the rest at random.
type subnet struct {
	netip.Prefix           // as the interface has it: with the own address
	heard        time.Time // the last packet to the group from there
	order        []uint16  // hosts of it, by number, that come next
}

// become tells whether other nodes are known. The lowest of them in a subnet scans it.
func (s *scan) become(now time.Time, alone bool) {
	switch {
	case !alone:
		s.alone, s.on = time.Time{}, false
	case s.alone.IsZero():
		s.alone = now
	default:
		return
	}
	s.at = s.first(now)
}

// move takes in where this node is now. Alone, it searches anew where it was not before.
func (s *scan) move(now time.Time, prefixes []netip.Prefix) {
	var subnets []*subnet
	fresh := false
	for _, p := range prefixes {
		if hosts(p) == 0 {
			continue
		}
		i := slices.IndexFunc(s.subnets, func(old *subnet) bool { return old.Prefix == p })
		if i >= 0 {
			subnets = append(subnets, s.subnets[i])
			continue
		}
		fresh = true
		subnets = append(subnets, &subnet{Prefix: p, order: order(p, s.random)})
	}
	s.subnets = subnets
	s.on = s.on && len(subnets) > 0
	if fresh && !s.alone.IsZero() {
		s.alone = now
	}
	s.at = s.first(now)
}

// first returns when to begin.
func (s *scan) first(now time.Time) time.Time {
	switch {
	case len(s.subnets) == 0:
		return time.Time{}
	case s.alone.IsZero():
		return now.Add(scanLook)
	}
	return s.alone.Add(scanAfter)
}

// hear notes a packet to the group, which shows that a subnet needs no scan.
func (s *scan) hear(now time.Time, from netip.Addr) {
	for _, n := range s.subnets {
		if n.Contains(from) {
			n.heard = now
		}
	}
}

// advance returns the addresses to probe now.
func (s *scan) advance(now time.Time) (probe []netip.Addr) {
	if !s.at.IsZero() && now.Sub(s.at) > time.Second { // the process stood still: nothing is made up for
		s.at = now
	}
	for !s.at.IsZero() && !now.Before(s.at) && len(probe) < scanAtATime {
		n := s.choose(now)
		if s.on = n != nil; !s.on {
			s.at = now.Add(scanLook)
			break
		}
		probe = append(probe, n.next(s.random))
		s.at = s.at.Add(s.pause(now))
	}
	return probe
}

func (s *scan) pause(now time.Time) time.Duration {
	switch since := now.Sub(s.alone); {
	case s.alone.IsZero():
		return scanPause
	case since < scanBurst:
		return burstPause
	case since < scanFirst:
		return firstPause
	}
	return scanPause
}

// choose returns the subnet whose turn it is; nil: there is nothing to scan.
func (s *scan) choose(now time.Time) *subnet {
	for range s.subnets {
		s.turn = (s.turn + 1) % len(s.subnets)
		n := s.subnets[s.turn]
		if !s.alone.IsZero() || now.Sub(n.heard) > groupWorks && s.lowest(n.Masked()) {
			return n
		}
	}
	return nil
}

// hosts returns how many addresses of p may be scanned; 0: too many, or no other.
func hosts(p netip.Prefix) int {
	bits := p.Addr().BitLen() - p.Bits()
	if !p.Addr().Is4() || bits == 0 || uint64(1)<<bits > scanMost {
		return 0
	}
	return 1 << bits
}

// order returns all hosts of p: those around that of p itself, the nearest first, and
// the others at random.
func order(p netip.Prefix, random *rand.Rand) (all []uint16) {
	own := number(p)
	for d := 1; d <= scanNear; d++ {
		for _, n := range []int{own + d, own - d} {
			if isHost(p, n) {
				all = append(all, uint16(n))
			}
		}
	}
	for _, n := range random.Perm(hosts(p)) {
		if far := n-own > scanNear || own-n > scanNear; far && isHost(p, n) {
			all = append(all, uint16(n))
		}
	}
	return all
}

// isHost reports whether another host may have number n in p: neither that of the
// network nor the broadcast address is one.
func isHost(p netip.Prefix, n int) bool {
	all := hosts(p)
	return n >= 0 && n < all && n != number(p) && (all == 2 || n != 0 && n != all-1)
}

// number returns which address of its network that of p is.
func number(p netip.Prefix) int {
	a := p.Addr().As4()
	return int(binary.BigEndian.Uint32(a[:])) & (hosts(p) - 1)
}

// next returns the address whose turn it is.
func (n *subnet) next(random *rand.Rand) netip.Addr {
	if len(n.order) == 0 {
		n.order = order(n.Prefix, random)
	}
	a := n.Masked().Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+uint32(n.order[0]))
	n.order = n.order[1:]
	return netip.AddrFrom4(a)
}
