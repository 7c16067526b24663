package discovery

import (
	"net/netip"
	"time"
)

const (
	openedAll    = 2000 // packets in a second
	openedSource = 20   // of one source
	answersAll   = 50   // in a second
	saltsFor     = 2 * time.Minute
	saltsKept    = 4096
)

// source returns what counts as one source: an address, or what one holder of an
// IPv6 network may choose from.
func source(from netip.AddrPort) netip.Addr {
	a := from.Addr().Unmap()
	if a.Is4() || a.IsLinkLocalUnicast() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64)
	return p.Addr()
}

// A rate bounds what is opened, by seconds. It never remembers more sources than
// it lets packets pass.
type rate struct {
	second  time.Time
	all     int
	sources map[netip.Addr]int
}

// take counts one packet more, if it is within the bounds.
func (r *rate) take(now time.Time, from netip.Addr) bool {
	if d := now.Sub(r.second); d < 0 || d >= time.Second || r.sources == nil {
		*r = rate{second: now, sources: map[netip.Addr]int{}}
	}
	if r.all >= openedAll || r.sources[from] >= openedSource {
		return false
	}
	r.all++
	r.sources[from]++
	return true
}

// answered are the answers of the last second, oldest first.
type answered []struct {
	at time.Time
	to netip.Addr // zero: the group
}

// take counts one answer more, if it is within the bounds: of an address once in
// a second.
func (a *answered) take(now time.Time, to netip.Addr) bool {
	for len(*a) > 0 && now.Sub((*a)[0].at) >= time.Second {
		*a = (*a)[1:]
	}
	if len(*a) >= answersAll {
		return false
	}
	for _, one := range *a {
		if to.IsValid() && one.to == to {
			return false
		}
	}
	*a = append(*a, struct {
		at time.Time
		to netip.Addr
	}{now, to})
	return true
}

// A salt is the first octets of a packet.
type salt [saltSize]byte

// salts are those of the packets that had an effect, for two minutes; of too
// many the oldest are forgotten first.
type salts struct {
	seen map[salt]time.Time
	list []salt // as they came; from next on, if it is full
	next int
}

// add reports whether s is new, and remembers it.
func (r *salts) add(now time.Time, s salt) bool {
	at, ok := r.seen[s]
	switch {
	case ok && now.Sub(at) < saltsFor:
		return false
	case ok: // it keeps its place in the list
	case len(r.list) < saltsKept:
		r.list = append(r.list, s)
	default:
		delete(r.seen, r.list[r.next])
		r.list[r.next] = s
		r.next = (r.next + 1) % saltsKept
	}
	if r.seen == nil {
		r.seen = map[salt]time.Time{}
	}
	r.seen[s] = now
	return true
}
