package node

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/link"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// Report is what a node knows about why it and others do or do not meet. It holds no
// secret: it may be carried to another host, to be compared with the report there.
// Times are by the node's wall clock. Lists of what happened are oldest first.
type Report struct {
	At     time.Time `json:"at"` // when it was made
	Status *Status   `json:"status"`

	Keys       []string          `json:"keys"`      // fingerprints: of the network's key, then of further ones that are accepted
	Listen     string            `json:"listen"`    // where others may dial this node; empty: nowhere
	Advertise  []string          `json:"advertise"` // what the configuration has others told to dial, if it does
	Peers      []string          `json:"peers"`     // named in the configuration
	Discover   []string          `json:"discover"`  // ways to find others, as configured
	Only       []string          `json:"only"`      // interfaces, if the configuration names some
	Interfaces []InterfaceReport `json:"interfaces"`

	Found    []FoundReport   `json:"found"`    // the latest: where other nodes may be
	Dials    []DialReport    `json:"dials"`    // the latest of each address
	Refusals []RefusalReport `json:"refusals"` // the last 256

	ToGroup uint64 `json:"to_group"` // of the packets heard, how many came by multicast
	Taken   string `json:"taken"`    // why the node has not the UDP port that others would ask it at; empty: it has
}

// InterfaceReport is a network interface, as the system has it.
type InterfaceReport struct {
	Name      string   `json:"name"`
	Up        bool     `json:"up"`
	Running   bool     `json:"running"` // its cable is in
	Loopback  bool     `json:"loopback"`
	Multicast bool     `json:"multicast"`
	MTU       int      `json:"mtu"`
	Addresses []string `json:"addresses"` // with the length of their prefix
}

// FoundReport is the latest that a source found of a node or an address.
type FoundReport struct {
	At      time.Time `json:"at"`
	Source  string    `json:"source"`
	Node    string    `json:"node"` // empty: not known
	From    string    `json:"from"` // where a packet came from that told the addresses; empty: there was none
	Address []string  `json:"address"`
}

// DialReport is how the latest dial of an address went.
type DialReport struct {
	At          time.Time `json:"at"`
	Address     string    `json:"address"`
	Node        string    `json:"node"`        // who was there; empty: not known
	Code        string    `json:"code"`        // of docs/security.md; empty: it went well
	Text        string    `json:"text"`        // what there is to say beside the code
	Unreachable bool      `json:"unreachable"` // the system knows no way there, or nobody has the address
	Held        float64   `json:"held_s"`      // from the connection to its end; 0: there was none
}

// RefusalReport is who was refused, and why.
type RefusalReport struct {
	At      time.Time `json:"at"`
	Code    string    `json:"code"`
	Address string    `json:"address"`
	Node    string    `json:"node"` // if it has proved who it is
	Text    string    `json:"text"` // what there is to say beside the code
}

// Report returns what a running node knows about why it and others meet or do not.
func (n *Node) Report() (*Report, error) {
	status, err := n.Status()
	if err != nil {
		return nil, err
	}
	c := &n.config
	r := &Report{
		At:         c.Now().Round(0),
		Status:     status,
		Keys:       []string{},
		Advertise:  append([]string{}, c.Advertise...),
		Peers:      []string{},
		Discover:   shown(c.Discover),
		Only:       append([]string{}, c.Interfaces...),
		Interfaces: interfaces(),
		Found:      []FoundReport{},
		Dials:      []DialReport{},
		Refusals:   []RefusalReport{},
	}
	if n.network != nil {
		r.fill(n.network)
	}
	return r, nil
}

// fill fills in what a node has that is not alone for good.
func (r *Report) fill(w *network) {
	r.Keys = w.identity.Fingerprints()
	r.Peers = append(r.Peers, w.search.static.Peers()...)
	if w.listener != nil {
		r.Listen = w.listener.Addr().String()
	}
	late := r.At.Sub(time.Now().Round(0)) // of this clock's times
	for _, f := range w.search.finder.Last() {
		r.Found = append(r.Found, foundReport(f, late))
	}
	for _, o := range w.links.Outcomes() {
		r.Dials = append(r.Dials, dialReport(o, late))
	}
	for _, f := range w.n.refused.Last() {
		one := RefusalReport{At: f.At.Round(0), Code: string(f.Code), Address: f.Addr, Text: text(f.Err)}
		if !f.Peer.IsZero() {
			one.Node = f.Peer.String()
		}
		r.Refusals = append(r.Refusals, one)
	}
	if w.search.lan != nil {
		s := w.search.lan.Stats()
		r.ToGroup, r.Taken = s.ToGroup, text(s.Taken)
	}
}

func foundReport(f discovery.LastFound, late time.Duration) FoundReport {
	r := FoundReport{At: f.At.Add(late).Round(0), Source: f.Source, Address: []string{}}
	if !f.Node.IsZero() {
		r.Node = f.Node.String()
	}
	if f.From.IsValid() {
		r.From = f.From.String()
	}
	for _, a := range f.Addrs[:min(len(f.Addrs), wire.MaxAddrs)] {
		r.Address = append(r.Address, a.String())
	}
	return r
}

func dialReport(o link.Outcome, late time.Duration) DialReport {
	r := DialReport{At: o.At.Add(late).Round(0), Address: o.Addr.String(), Held: o.Held.Seconds()}
	if !o.Peer.IsZero() {
		r.Node = o.Peer.String()
	}
	if o.Err == nil {
		return r
	}
	code := session.FirstFrame
	if e := (*session.Error)(nil); errors.As(o.Err, &e) {
		code = e.Code
		r.Text = text(e.Err)
	}
	r.Code = string(code)
	r.Unreachable = errors.Is(o.Err, syscall.EHOSTUNREACH) || errors.Is(o.Err, syscall.ENETUNREACH)
	return r
}

// text returns what an error says, within bounds.
func text(err error) string {
	if err == nil {
		return ""
	}
	s := err.Error()
	return s[:min(len(s), 256)]
}

// shown returns ways to find others, without commands, which may hold what is not for
// everybody.
func shown(ways []string) []string {
	all := []string{}
	for _, way := range ways {
		if strings.HasPrefix(way, Exec+":") {
			way = Exec
		}
		all = append(all, way)
	}
	return all
}

// interfaces returns those of this host.
func interfaces() []InterfaceReport {
	all, _ := net.Interfaces() // without them, the report says that there are none
	list := []InterfaceReport{}
	for _, i := range all {
		one := InterfaceReport{
			Name:      i.Name,
			Up:        i.Flags&net.FlagUp != 0,
			Running:   i.Flags&net.FlagRunning != 0,
			Loopback:  i.Flags&net.FlagLoopback != 0,
			Multicast: i.Flags&net.FlagMulticast != 0,
			MTU:       i.MTU,
			Addresses: []string{},
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			one.Addresses = append(one.Addresses, a.String())
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b InterfaceReport) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
