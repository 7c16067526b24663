package node

import (
	"cmp"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/link"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// Status is what a node says of itself. Every figure is one it counts or holds;
// those that count go up from the start. Lists are sorted.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Network string    `json:"network"` // empty: dev
	Dev     bool      `json:"dev"`
	Node    string    `json:"node"`  // its id, new with every start; empty: dev
	State   string    `json:"state"` // in the network: solo, joining, active or leaving
	Started time.Time `json:"started"`
	Relay   []string  `json:"relay"`   // addresses it serves programs on
	Address []string  `json:"address"` // those that other nodes are told to dial
	Admin   string    `json:"admin"`   // where it answers HTTP over TCP; empty: nowhere

	Programs int `json:"programs"` // attached now
	Tunnels  int `json:"tunnels"`  // open now, those to other nodes included
	Abroad   int `json:"abroad"`   // of them, those to programs of other nodes

	Clusters []NameStatus `json:"clusters"`
	Topics   []NameStatus `json:"topics"`
	Peers    []PeerStatus `json:"peers"`
	Links    []LinkStatus `json:"links"`

	Discovery *DiscoveryStatus `json:"discovery,omitempty"` // nil: nothing is looked for

	Memory     MemoryStatus `json:"memory"`
	Goroutines int          `json:"goroutines"` // of the process

	Sent         SentStatus        `json:"sent"`    // by programs, by primitive
	Retried      uint64            `json:"retried"` // calls handed to another member: the first had provably not started them
	Ended        map[string]uint64 `json:"ended"`   // connections of programs, by why
	Dropped      map[string]uint64 `json:"dropped"` // by what and why
	Mended       map[string]uint64 `json:"mended"`  // what went another way than the straight one, and well
	LinksEnded   map[string]uint64 `json:"links_ended"`
	TunnelsEnded map[string]uint64 `json:"tunnels_ended"` // those to other nodes, by why
	Refused      map[string]uint64 `json:"refused"`       // connections between nodes that did not come about, by code
	Keys         []uint64          `json:"keys"`          // links that came up, by which accepted key vouched: the own, then the further ones
}

// NameStatus is a cluster or topic that has members on this node, or that programs
// of this node use.
type NameStatus struct {
	Name    string   `json:"name"`
	Members int      `json:"members"` // on this node
	Load    int      `json:"load"`    // of a cluster: requests in the hands of those members
	Nodes   int      `json:"nodes"`   // other nodes with members
	On      []string `json:"on"`      // the first 16 of those nodes
	Watched bool     `json:"watched"` // programs of this node use the name; else it is not told of all other nodes

	// From when the name came into use.
	Taken   uint64 `json:"taken"`   // of a cluster: requests and tunnel builds given to members here
	Passed  uint64 `json:"passed"`  // those that this node gave to other nodes
	Sent    uint64 `json:"sent"`    // events of a topic, broadcasts to a cluster, that programs here published
	Arrived uint64 `json:"arrived"` // those that came from other nodes
}

// PeerStatus is another node that is known to be up.
type PeerStatus struct {
	Node    string   `json:"node"`
	State   string   `json:"state"`
	Address []string `json:"address"` // where it may be dialled
	Linked  bool     `json:"linked"`
	Via     string   `json:"via"`     // the node that hands frames on to it, if no link comes about
	Silent  bool     `json:"silent"`  // it does not answer: soon it is held for dead
	Tunnels int      `json:"tunnels"` // to programs there, open now
}

// LinkStatus is a link to another node.
type LinkStatus struct {
	Node     string     `json:"node"`
	Address  string     `json:"address"` // dialled, or that of who dialled
	Dialled  bool       `json:"dialled"` // by this node
	Since    time.Time  `json:"since"`
	RTT      float64    `json:"rtt_ms"`   // 0: nothing is known of it yet
	Received uint64     `json:"received"` // octets on the wire, what TLS adds included
	Sent     uint64     `json:"sent"`
	Software string     `json:"software"`
	Key      int        `json:"key"` // which of the accepted keys vouches for the node; 0: the first
	Waiting  LaneStatus `json:"waiting"`
}

// DiscoveryStatus is how other nodes are looked for. Packets are counted as they are on
// the wire: a beacon goes to each interface, and there by IPv4 and by IPv6.
type DiscoveryStatus struct {
	Sources    []SourceStatus    `json:"sources"`
	Alone      bool              `json:"alone"`      // no other node is known
	Interfaces []string          `json:"interfaces"` // that are used
	Interval   float64           `json:"interval_s"` // of beacons: up to 600, and 1 when something is new
	Scanning   bool              `json:"scanning"`   // addresses are asked one after another
	Sent       map[string]uint64 `json:"sent"`       // packets, by kind
	Heard      map[string]uint64 `json:"heard"`      // of other nodes of the network
	Refused    map[string]uint64 `json:"refused"`    // by code; those of this node itself, and repeated ones, are among them
	Dials      map[string]uint64 `json:"dials"`      // what came of what was found
}

// SourceStatus is one way to find other nodes.
type SourceStatus struct {
	Name    string `json:"name"`
	Found   uint64 `json:"found"`             // times that it found an address
	Failed  uint64 `json:"failed"`            // times that it could not look
	Ended   string `json:"ended"`             // why it does not go on; empty: it does, or has told all
	Trouble string `json:"trouble,omitempty"` // what keeps it from finding others now
}

// LaneStatus is how many octets wait in a link, by lane.
type LaneStatus struct {
	Control      int `json:"control"`
	Routed       int `json:"routed"`
	Requests     int `json:"requests"`
	Publications int `json:"publications"`
	Bulk         int `json:"bulk"`
}

// MemoryStatus is what payload holds of what it may, in octets.
type MemoryStatus struct {
	Used  int64 `json:"used"`
	Limit int64 `json:"limit"`
}

// SentStatus counts messages.
type SentStatus struct {
	Requests   uint64 `json:"requests"`
	Replies    uint64 `json:"replies"`
	Broadcasts uint64 `json:"broadcasts"`
	Events     uint64 `json:"events"`
	Tunnels    uint64 `json:"tunnels"`
}

// Status returns the state of a running node.
func (n *Node) Status() (*Status, error) {
	r, err := n.read()
	if err != nil {
		return nil, err
	}
	s := &Status{
		Version:    n.config.Version,
		PID:        os.Getpid(),
		Network:    n.config.Network,
		Dev:        n.config.Dev,
		State:      r.state.String(),
		Started:    n.started,
		Relay:      n.addrs,
		Admin:      n.adminAddr,
		Address:    []string{},
		Programs:   r.programs,
		Tunnels:    int(n.tunnels.Open.Load()),
		Clusters:   names(r.clusters),
		Topics:     names(r.topics),
		Peers:      []PeerStatus{},
		Links:      []LinkStatus{},
		Memory:     MemoryStatus{n.plane.Budget.Used(), n.plane.Budget.Limit()},
		Goroutines: runtime.NumGoroutine(),
		Sent:       SentStatus(r.totals),
		Keys:       []uint64{},
	}
	if n.network != nil {
		s.list(n.network, r.known)
		s.Discovery = n.network.search.status(r)
	}
	s.count(r)
	return s, nil
}

// count fills in what is counted.
func (s *Status) count(r *reading) {
	all := func(in ...list) map[string]uint64 {
		m := map[string]uint64{}
		r.fill(m, in...)
		return m
	}
	s.Retried = r.n.plane.Retries.Total()
	s.Ended = all(ended)
	s.Dropped, s.Mended, s.LinksEnded, s.TunnelsEnded, s.Refused = all(dropped), all(), all(), all(), all()
	for code, n := range r.refused {
		s.Refused[string(code)] = n
	}
	if r.n.network == nil {
		return
	}
	s.Dropped, s.Mended = all(dropped, droppedAbroad), all(mended)
	s.LinksEnded, s.TunnelsEnded = all(linksEnded), all(tunnelsEnded)
	for _, a := range r.anchors() {
		s.Keys = append(s.Keys, a.count)
	}
}

// list fills in the other nodes and the links to them.
func (s *Status) list(w *network, known []overlay.Known) {
	s.Node = w.identity.ID().String()
	s.Address = addresses(w.own())
	s.Abroad = w.splice.Open()
	tunnels := w.splice.With()
	links := w.links.Links()
	slices.SortFunc(links, func(a, b *link.Link) int { return a.Peer().Compare(b.Peer()) })
	linked := make(map[ring.ID]bool)
	for _, l := range links {
		c := l.Counters()
		linked[l.Peer()] = true
		s.Links = append(s.Links, LinkStatus{
			Node:     l.Peer().String(),
			Address:  l.Addr().String(),
			Dialled:  l.Dialled(),
			Since:    l.Started(),
			RTT:      float64(l.RTT().Microseconds()) / 1e3,
			Received: c.Read,
			Sent:     c.Written,
			Software: l.Info().Software,
			Key:      l.Anchor(),
			Waiting:  lanes(c),
		})
	}
	for _, k := range known {
		p := PeerStatus{
			Node:    k.ID.String(),
			State:   k.State.String(),
			Address: addresses(k.Addrs),
			Linked:  linked[k.ID],
			Silent:  k.Doubt,
			Tunnels: tunnels[k.ID],
		}
		if !k.Via.IsZero() {
			p.Via = k.Via.String()
		}
		s.Peers = append(s.Peers, p)
	}
}

func lanes(c link.Counters) LaneStatus {
	return LaneStatus{c.Control, c.Routed, c.Waiting[wire.Requests], c.Waiting[wire.Publications], c.Waiting[wire.Bulk]}
}

func addresses(in []wire.Addr) []string {
	out := make([]string, len(in))
	for i, a := range in {
		out[i] = a.AddrPort.String()
	}
	return out
}

// names returns the names in order.
func names(in []messaging.Name) []NameStatus {
	slices.SortFunc(in, func(a, b messaging.Name) int { return cmp.Compare(a.Name, b.Name) })
	out := make([]NameStatus, len(in))
	for i, n := range in {
		out[i] = NameStatus{n.Name, n.Members, n.Load, n.Nodes, ids(n.On), n.Watched, n.Taken, n.Passed, n.Sent, n.Arrived}
	}
	return out
}

// ids returns the ids of nodes in order.
func ids(in []ring.ID) []string {
	out := make([]string, len(in))
	for i, id := range in {
		out[i] = id.String()
	}
	slices.Sort(out)
	return out
}
