package node

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/link"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// lonelyLimit is how long a node is alone before it says so.
const lonelyLimit = 10 * time.Second

// search is how a node finds others.
type search struct {
	w      *network
	finder *discovery.Finder
	static *discovery.Static
	ways   ways
	lan    *discovery.LAN  // nil: none
	etcd   *discovery.Etcd // nil: none
	lonely chan struct{}   // whether the node is alone may have changed
}

// newSearch makes the sources that the configuration asks for.
func newSearch(w *network) *search {
	c := &w.n.config
	s := &search{w: w, lonely: make(chan struct{}, 1)}
	s.ways, _ = parseWays(c.Discover) // they were checked
	alone := func() bool { return w.standing().Alone }
	s.static = discovery.NewStatic(c.Peers, c.Log)
	sources := []discovery.Source{s.static}
	var at netip.AddrPort
	if w.listener != nil {
		at = w.listener.Addr().(*net.TCPAddr).AddrPort()
	}
	switch {
	case !s.ways.multicast && !s.ways.scan:
	case at.Addr().IsLoopback():
		c.Log.Info("no other node is looked for on the network, since this one listens on loopback")
	default:
		s.lan = s.newLAN(at)
		sources = append(sources, s.lan)
	}
	if s.ways.cache || s.ways.auto && c.State != "" {
		sources = append(sources, &discovery.Cache{Dir: c.State, Log: c.Log, Alone: alone, Known: w.others})
	}
	for _, name := range s.ways.names {
		sources = append(sources, &discovery.DNS{Of: name, Port: s.port(at), Log: c.Log, Alone: alone})
	}
	for i, text := range s.ways.commands {
		label := Exec
		if i > 0 {
			label = fmt.Sprintf("%s %d", Exec, i+1)
		}
		sources = append(sources, &discovery.Exec{Command: text, Label: label, Port: s.port(at), Log: c.Log, Alone: alone})
	}
	if s.etcd = s.newEtcd(at); s.etcd != nil {
		sources = append(sources, s.etcd)
	}
	if s.ways.gce && !at.Addr().IsLoopback() && discovery.OnGCE() {
		sources = append(sources, &discovery.GCE{
			Port: s.port(at), Log: c.Log,
			Alone: alone,
			Within: func(ranges []netip.Prefix) {
				if s.lan != nil {
					s.lan.Within(ranges)
				}
			},
		})
	}
	s.finder = discovery.NewFinder(discovery.FinderConfig{
		Sources:  sources,
		Log:      c.Log,
		Loopback: at.Addr().IsLoopback(),
		Own:      w.isOwn,
		Knows:    w.knows,
		Dial:     w.links.Find,
		Keep:     w.links.Seed,
		Drop:     w.links.Unseed,
	})
	return s
}

func (s *search) newLAN(at netip.AddrPort) *discovery.LAN {
	w := s.w
	return discovery.NewLAN(discovery.LANConfig{
		Config:       s.packets(),
		SeekerConfig: discovery.SeekerConfig{Multicast: s.ways.multicast, Scan: s.ways.scan, Port: s.port(at), Lowest: w.lowest},
		Log:          w.n.config.Log,
		Interfaces:   w.n.config.Interfaces,
		Listen:       at,
		State:        w.standing,
		Moved:        w.moved,
		Refused: func(r discovery.Refusal) {
			w.n.refused.Refuse(r.Code, r.From.Addr().Unmap().String(), r.Node, r.Err)
		},
	})
}

// newEtcd returns nil if the configuration asks for none. What a host has by itself
// is nothing to a node that only this host reaches.
func (s *search) newEtcd(at netip.AddrPort) *discovery.Etcd {
	w := s.w
	if len(s.ways.etcds) == 0 && (!s.ways.etcd || at.Addr().IsLoopback()) {
		return nil
	}
	return discovery.NewEtcd(discovery.EtcdConfig{
		Config: s.packets(),
		URLs:   s.ways.etcds,
		Tags:   w.identity.PublicTags,
		State:  w.standing,
		Port:   s.port(at),
		Log:    w.n.config.Log,
	})
}

// packets is what packets are made and opened with.
func (s *search) packets() (c discovery.Config) {
	w := s.w
	rand.Read(c.Seed[:])
	c.Self, c.Seal, c.Open = w.identity.ID(), w.identity.SealPacket, w.identity.OpenPacket
	c.Knows = func(id ring.ID) bool { return w.knows(id, netip.AddrPort{}) }
	c.Wall = w.n.config.Now
	return c
}

// port returns where other nodes are, most likely.
func (s *search) port(at netip.AddrPort) uint16 {
	if _, chosen, err := net.SplitHostPort(s.w.n.config.Listen); err == nil && chosen != "0" {
		return at.Port() // others have chosen it too
	}
	return discovery.Port
}

func (s *search) start() {
	s.w.running.Go(func() { s.finder.Run(s.w.ctx) })
	if s.looks() {
		s.w.running.Go(s.watch)
	} else {
		s.w.settled.Store(true)
	}
	if s.lan == nil && s.w.listener != nil { // nobody else looks where we are
		s.w.running.Go(func() {
			discovery.Watch(s.w.ctx, s.w.n.config.Interfaces, s.w.moved)
		})
	}
}

// looks reports whether anybody is looked for.
func (s *search) looks() bool {
	return len(s.finder.Stats().Sources) > 1 || len(s.static.Peers()) > 0
}

// changed says that the network is not what it was.
func (s *search) changed() {
	signal(s.lonely)
	if s.lan != nil {
		s.lan.Changed()
	}
	if s.etcd != nil {
		s.etcd.Changed()
	}
}

// watch says that the node is alone: once each time that it is.
func (s *search) watch() {
	timer := time.NewTimer(lonelyLimit)
	defer timer.Stop()
	for alone := true; ; {
		select {
		case <-s.lonely:
			is := s.w.standing().Alone
			switch {
			case is && !alone:
				timer.Reset(lonelyLimit)
			case alone && !is:
				timer.Stop()
			}
			alone = is
		case <-timer.C:
			if s.w.standing().Alone {
				s.w.settled.Store(true)
				s.sayAlone()
			}
		case <-s.w.ctx.Done():
			return
		}
	}
}

// sayAlone says that no other node was found, and what to look at.
func (s *search) sayAlone() {
	refused := s.w.n.refused.Counts()
	foreign := refused[session.PacketKey] + refused[session.KnockKey]
	check := "on the other hosts: do nodes run, with the same network name and key? may UDP and TCP port 14142 pass, and multicast? --peer HOST:PORT names one"
	switch {
	case foreign > 0:
		check = "there are nodes with another key or network name: compare both with theirs"
	case s.finder.Stats().Dialled > 0:
		check = "others were found, or were there before, and cannot be reached: are they up? may TCP port 14142 pass?"
	case s.lan == nil:
		check = "nobody is looked for but as was chosen: are others up, with the same network name and key? may TCP port 14142 pass?"
	case len(s.lan.Stats().Interfaces) == 0:
		check = "this host has no network that others could be on"
	}
	s.w.n.config.Log.Info("no other node was found yet: programs of this host reach each other only", "key", s.w.identity.Fingerprints()[0], "check", check)
}

// standing is what the node is, as far as others are searched for.
func (w *network) standing() discovery.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return discovery.State{State: w.state, Nodes: max(1, len(w.known)), Addrs: w.addrs, Alone: w.alone}
}

// moved takes in where this host is now.
func (w *network) moved(interfaces []discovery.Interface) {
	if w.listener == nil || len(w.n.config.Advertise) > 0 {
		return
	}
	at := w.listener.Addr().(*net.TCPAddr).AddrPort()
	addrs := hostAddrs(at, interfaces)
	if !at.Addr().IsUnspecified() || slices.Equal(addrs, w.own()) {
		return
	}
	w.mu.Lock()
	w.addrs = addrs
	w.mu.Unlock()
	w.search.changed()
	w.n.config.Log.Info("other nodes reach this one here now", "address", strings.Join(addresses(addrs), " "))
	w.n.tell(func(now time.Time, _ *queue.Batch) { w.n.loop.Core.Move(now, addrs, &w.n.loop.Out) })
}

// isOwn reports whether an address is one of this node.
func (w *network) isOwn(a netip.AddrPort) bool {
	return slices.ContainsFunc(w.own(), func(own wire.Addr) bool { return own.AddrPort == a })
}

// knows reports whether a node need not be found, or whoever is at the address if
// the id is zero.
func (w *network) knows(id ring.ID, at netip.AddrPort) bool {
	w.mu.Lock()
	_, there := w.at[at]
	_, known := slices.BinarySearchFunc(w.known, id, ring.ID.Compare)
	w.mu.Unlock()
	if !id.IsZero() {
		return known || w.links.Link(id) != nil
	}
	return there || slices.ContainsFunc(w.links.Links(), func(l *link.Link) bool { return l.Addr() == at })
}

// others returns where other nodes are, sorted.
func (w *network) others() (all []netip.AddrPort) {
	for _, l := range w.links.Links() {
		if l.Dialled() {
			all = append(all, l.Addr())
		}
	}
	w.mu.Lock()
	for at, id := range w.at {
		if id != w.identity.ID() {
			all = append(all, at)
		}
	}
	w.mu.Unlock()
	slices.SortFunc(all, netip.AddrPort.Compare)
	return slices.Compact(all)
}

// lowest reports whether no node that is known in a subnet has a lower id than this.
func (w *network) lowest(subnet netip.Prefix) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, id := range w.at {
		if subnet.Contains(at.Addr()) && id.Compare(w.identity.ID()) < 0 {
			return false
		}
	}
	return true
}

// status returns what was counted; nil: nothing is looked for.
func (s *search) status(r *reading) *DiscoveryStatus {
	if !s.looks() {
		return nil
	}
	d := &DiscoveryStatus{
		Alone:      s.w.standing().Alone,
		Interfaces: []string{},
		Sent:       map[string]uint64{},
		Heard:      map[string]uint64{},
		Refused:    map[string]uint64{},
		Dials:      map[string]uint64{"nodes or addresses in hand": uint64(r.finder.Waiting)},
	}
	for i, one := range r.finder.Sources {
		if i == 0 && len(s.static.Peers()) == 0 {
			continue // none are named
		}
		status := SourceStatus{Name: one.Name, Found: one.Found, Failed: one.Failed}
		if one.Ended != nil {
			status.Ended = one.Ended.Error()
		}
		if one.Trouble != nil {
			status.Trouble = one.Trouble.Error()
		}
		d.Sources = append(d.Sources, status)
	}
	r.fill(d.Dials, dialsFound)
	if s.lan == nil {
		return d
	}
	d.Interfaces, d.Interval, d.Scanning = r.lan.Interfaces, r.lan.Interval.Seconds(), r.lan.Scanning
	r.fill(d.Sent, packetsSent)
	r.fill(d.Heard, packetsHeard)
	r.fill(d.Refused, packetsLeft)
	for code, n := range r.lan.Refused {
		d.Refused[string(code)] = n
	}
	return d
}
