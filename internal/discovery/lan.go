package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/session"
)

// Bounds of a LAN. What a socket gets beyond readMost in readEvery waits in the
// kernel, and is dropped there: a flood costs a few per cent of one processor.
const (
	readMost  = 200 // datagrams
	readEvery = 100 * time.Millisecond

	lookPause = 500 * time.Millisecond // between two looks at the interfaces
	lookAgain = 10 * time.Second       // when something went wrong
	sendTries = 3                      // that fail before it is told: a new address may take a moment
)

// LANConfig is what a LAN needs.
type LANConfig struct {
	Config
	SeekerConfig
	Log *slog.Logger

	Interfaces []string       // to use; empty: all
	Listen     netip.AddrPort // where the node listens; zero: nowhere

	State   func() State      // what the node is; called by Run
	Moved   func([]Interface) // the interfaces changed; called by Run
	Refused func(Refusal)     // may be called concurrently
}

// LAN is the Source of nodes on the networks that this host is in, which it finds by
// multicast and by asking one address after another.
type LAN struct {
	c       LANConfig
	changed chan struct{}
	moved   chan struct{}

	trouble // what the system refused when the interfaces were looked at last

	mu     sync.Mutex
	stats  LANStats
	ranges []netip.Prefix
}

// LANStats are what a LAN has counted: datagrams, on each interface and by each of
// IPv4 and IPv6.
type LANStats struct {
	Interfaces []string
	Interval   time.Duration // of the beacons
	Scanning   bool
	Sent       map[Kind]uint64
	Heard      map[Kind]uint64
	ToGroup    uint64 // of those heard, how many were sent to the group
	Taken      error  // why a scan by others does not find this node
	Refused    map[session.Code]uint64
	Failed     uint64 // could not be sent, or read
	Paused     uint64 // times that a socket was not read for a moment: too much came
}

// NewLAN returns the source.
func NewLAN(c LANConfig) *LAN {
	return &LAN{c: c, changed: make(chan struct{}, 1), moved: make(chan struct{}, 1), stats: LANStats{
		Sent: make(map[Kind]uint64), Heard: make(map[Kind]uint64), Refused: make(map[session.Code]uint64),
	}}
}

// Name implements Source.
func (l *LAN) Name() string {
	switch {
	case !l.c.Scan:
		return "multicast"
	case !l.c.Multicast:
		return "scan"
	}
	return "multicast and scan"
}

// Changed says that State returns something else now. It does not block.
func (l *LAN) Changed() { signal(l.changed) }

// Within says which ranges addresses of this host are in, where its interfaces have them
// with masks that say less, as in a cloud. It does not block.
func (l *LAN) Within(ranges []netip.Prefix) {
	l.mu.Lock()
	l.ranges = ranges
	l.mu.Unlock()
	signal(l.moved)
}

// widen puts the ranges that are known into the place of what the interfaces say.
func (l *LAN) widen(interfaces []Interface) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range interfaces {
		for n, p := range i.Prefixes {
			for _, r := range l.ranges {
				if r.Addr() == p.Addr() {
					i.Prefixes[n] = r
				}
			}
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Stats returns what was counted so far.
func (l *LAN) Stats() LANStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Interfaces = slices.Clone(s.Interfaces)
	s.Sent, s.Heard, s.Refused = maps.Clone(s.Sent), maps.Clone(s.Heard), maps.Clone(s.Refused)
	return s
}

// A run is a LAN at work. All but the sockets' readers is on one goroutine, that of Run:
// sockets are opened on it, so whoever has it in a network namespace has them there.
type run struct {
	*LAN
	ctx       context.Context
	found     func(Found)
	seeker    *Seeker
	sockets   sockets
	datagrams chan Datagram
	running   sync.WaitGroup

	interfaces []Interface
	looked     time.Time
	look       time.Time // when to look again; zero: when something changes
	failed     map[string]int
	out        Output
}

// Run implements Source.
func (l *LAN) Run(ctx context.Context, found func(Found)) error {
	ctx, cancel := context.WithCancel(ctx)
	r := &run{
		LAN: l, ctx: ctx, found: found,
		seeker:    NewSeeker(l.c.Config, l.c.SeekerConfig),
		datagrams: make(chan Datagram),
		failed:    make(map[string]int),
		look:      time.Now(),
	}
	defer r.running.Wait()
	defer r.sockets.close()
	defer cancel()
	r.running.Go(func() { watch(ctx, func() { signal(r.moved) }) })
	r.seeker.Become(time.Now(), l.c.State())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case d := <-r.datagrams:
			r.seeker.Receive(time.Now(), d, &r.out)
		case <-l.changed:
			r.seeker.Become(time.Now(), l.c.State())
		case <-r.moved:
			r.look = sooner(r.look, r.looked.Add(lookPause))
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		now := time.Now()
		if !r.look.IsZero() && !now.Before(r.look) {
			r.move(now)
		}
		r.seeker.Advance(now, &r.out)
		r.carryOut()
		if next := sooner(r.seeker.Next(), r.look); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(time.Until(next), time.Millisecond))
		}
	}
}

// move looks at the interfaces, and takes in what is new about them.
func (r *run) move(now time.Time) {
	r.looked, r.look = now, time.Time{}
	r.setTrouble(nil)
	interfaces, err := Interfaces(r.c.Interfaces)
	if err != nil {
		r.fault("interfaces", err)
		return
	}
	r.widen(interfaces)
	interfaces = within(interfaces, r.c.Listen.Addr())
	interfaces = interfaces[:min(len(interfaces), mostInterfaces)]
	var all, v4 []netip.Prefix
	names := []string{}
	for _, i := range interfaces {
		all = append(all, i.Prefixes...)
		names = append(names, i.Name)
	}
	for _, p := range all {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		}
	}
	opened, err := r.sockets.open(r.c.Listen, r.c.Multicast, len(v4) > 0, len(v4) < len(all))
	if err != nil {
		r.fault("open", err)
	}
	if r.sockets.taken != nil {
		r.once("taken", "another program has the UDP port of this node: a scan by others does not find it", "error", r.sockets.taken)
	}
	for _, c := range opened {
		group := c != r.sockets.unicast
		r.running.Go(func() { r.read(c, group) })
	}
	joined := len(r.sockets.joined)
	if err := r.sockets.join(interfaces); err != nil {
		r.fault("join", err)
	}
	if len(all) == 0 {
		named := "all"
		if len(r.c.Interfaces) > 0 {
			named = strings.Join(r.c.Interfaces, " ")
		}
		r.once("none", "no network was found to look for other nodes on; they are looked for when there is one", "interfaces", named)
	}
	late := len(r.sockets.joined) > joined // the system may have refused before
	changed := key(interfaces) != key(r.interfaces) || late
	more := late || slices.ContainsFunc(all, func(p netip.Prefix) bool {
		return !slices.ContainsFunc(r.interfaces, func(i Interface) bool { return slices.Contains(i.Prefixes, p) })
	})
	r.interfaces = interfaces
	if changed {
		r.c.Moved(interfaces)
		r.seeker.Become(now, r.c.State())
		r.seeker.Move(now, v4, more, &r.out)
	}
	r.mu.Lock()
	r.stats.Interfaces, r.stats.Taken = names, r.sockets.taken
	r.mu.Unlock()
}

// within returns what of the interfaces has to do with where the node listens.
func within(all []Interface, at netip.Addr) (some []Interface) {
	if at = at.Unmap(); !at.IsValid() || at == netip.IPv6Unspecified() {
		return all
	}
	for _, i := range all {
		var same []netip.Prefix
		for _, p := range i.Prefixes {
			if p.Addr() == at || at.IsUnspecified() && p.Addr().Is4() {
				same = append(same, p)
			}
		}
		if i.Prefixes = same; len(same) > 0 {
			some = append(some, i)
		}
	}
	return some
}

// fault tells of what the system refused, once, and has it tried again.
func (r *run) fault(what string, err error) {
	r.once(what, "other nodes may not be found: the system refuses", "error", err)
	r.setTrouble(err)
	r.look = time.Now().Add(lookAgain)
}

// once warns of something, the first time.
func (r *run) once(what, text string, args ...any) {
	const many = 256 // interfaces may have ever new names
	if len(r.failed) > many {
		clear(r.failed)
	}
	if r.failed[what]++; r.failed[what] == 1 {
		r.c.Log.Warn(text, args...)
	}
}

// carryOut does what the seeker left to do.
func (r *run) carryOut() {
	for _, s := range r.out.Send {
		if s.To.IsValid() {
			r.sent(s.Kind, "", r.sockets.send(s.Packet, s.To))
			continue
		}
		for i := range r.interfaces {
			one := &r.interfaces[i]
			for m := range r.sockets.joined {
				if m.index == one.Index && (!m.is4 || r.sockets.unicast != nil) {
					r.sent(s.Kind, one.Name, r.sockets.sendGroup(s.Packet, one, m.is4))
				}
			}
		}
	}
	for _, d := range r.out.Dial {
		r.found(Found{Node: d.Node, From: d.From, Addrs: d.Addrs})
	}
	r.mu.Lock()
	for _, h := range r.out.Heard {
		r.stats.Heard[h.Kind]++
		if h.Group {
			r.stats.ToGroup++
		}
	}
	r.stats.Interval, r.stats.Scanning = r.seeker.trickle.interval, r.seeker.Scanning()
	r.mu.Unlock()
	for _, f := range r.out.Refused {
		r.refuse(f)
	}
	r.out.Send, r.out.Dial = r.out.Send[:0], r.out.Dial[:0]
	r.out.Heard, r.out.Refused = r.out.Heard[:0], r.out.Refused[:0]
}

// sent counts a datagram. To tell of every address that was probed would be too much.
func (r *run) sent(kind Kind, on string, err error) {
	r.mu.Lock()
	if err == nil {
		r.stats.Sent[kind]++
	} else {
		r.stats.Failed++
	}
	r.mu.Unlock()
	switch {
	case on == "":
	case err == nil:
		delete(r.failed, "tries "+on)
	default:
		if r.failed["tries "+on]++; r.failed["tries "+on] == sendTries {
			r.once("send "+on, "nothing can be sent to other nodes on an interface", "interface", on, "error", err)
		}
	}
}

// refuse counts a datagram of which nothing came, and tells of it. Those that come
// back to their sender, or by IPv4 and IPv6, are no news: they are only counted.
func (l *LAN) refuse(f Refusal) {
	l.mu.Lock()
	l.stats.Refused[f.Code]++
	l.mu.Unlock()
	if f.Code != session.PacketSelf && f.Code != session.PacketReplay {
		l.c.Refused(f)
	}
}

// read hands on what comes to a socket, until that is closed.
func (r *run) read(c *net.UDPConn, group bool) {
	buf := make([]byte, PacketSize+1)
	begun, count := time.Now(), 0
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && n == PacketSize {
			d := Datagram{From: from, Group: group, Interface: from.Addr().Zone(), Octets: slices.Clone(buf[:n])}
			select {
			case r.datagrams <- d:
			case <-r.ctx.Done():
				return
			}
		} else if err != nil {
			r.mu.Lock()
			r.stats.Failed++
			r.mu.Unlock()
		} else {
			r.refuse(Refusal{Code: session.PacketSize, From: from, Err: fmt.Errorf("%d octets, want %d", n, PacketSize)})
		}
		if count++; time.Since(begun) >= readEvery {
			begun, count = time.Now(), 0
		}
		if count >= readMost {
			r.mu.Lock()
			r.stats.Paused++
			r.mu.Unlock()
			select {
			case <-time.After(readEvery - time.Since(begun)):
			case <-r.ctx.Done():
				return
			}
		}
	}
}

var _ Source = (*LAN)(nil)
var _ troubled = (*LAN)(nil)
