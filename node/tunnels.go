package node

import (
	"time"

	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relay"
	"github.com/project-iris/iris/internal/splice"
	"github.com/project-iris/iris/internal/tunnel"
)

// mostTunnels is how many tunnels are listed.
const mostTunnels = 1000

// TunnelList is the tunnels that programs of this node have open, in the order that
// the programs came in.
type TunnelList struct {
	Open    int            `json:"open"`    // now, those included whose program here has ended and that bring the rest
	Tunnels []TunnelStatus `json:"tunnels"` // the first 1,000
}

// TunnelStatus is an open tunnel. Who built it is at one end, a member of the cluster
// at the other.
type TunnelStatus struct {
	Cluster    string     `json:"cluster"`
	Builder    string     `json:"builder"`     // the cluster of who built it; empty: none, or not of this node
	Here       bool       `json:"here"`        // a program of this node built it
	Node       string     `json:"node"`        // at the other end; empty: both are programs of this one
	Since      time.Time  `json:"since"`       //
	ToMember   TunnelFlow `json:"to_member"`   // what the builder sends
	FromMember TunnelFlow `json:"from_member"` // and the member
}

// TunnelFlow is one direction of a tunnel.
type TunnelFlow struct {
	Octets   uint64 `json:"octets"`   // that this node has taken
	Waiting  int    `json:"waiting"`  // of them here, for credit or for room
	Credit   uint64 `json:"credit"`   // octets that the end which receives takes more
	Messages bool   `json:"messages"` // messages, not octets: it counts those
}

// Tunnels returns the tunnels of a running node.
func (n *Node) Tunnels() (*TunnelList, error) {
	var conns []*messaging.Conn
	if !n.do(func(time.Time, *queue.Batch) { conns = n.plane.Conns() }) {
		return nil, ErrClosed
	}
	clusters := make(map[*tunnel.Table]string, len(conns))
	for _, c := range conns {
		clusters[tunnelsOf(c)] = c.Cluster
	}
	var remotes map[*tunnel.Table]splice.Remote
	if n.network != nil {
		remotes = n.network.splice.Remotes()
	}
	list := &TunnelList{Open: int(n.tunnels.Open.Load()), Tunnels: []TunnelStatus{}}
	for _, c := range conns {
		for s := range tunnelsOf(c).States() {
			t := TunnelStatus{Cluster: c.Cluster, Here: s.Built, Since: s.Since, ToMember: TunnelFlow(s.In), FromMember: TunnelFlow(s.Out)}
			builder, local := clusters[s.Peer]
			remote, far := remotes[s.Peer]
			switch {
			case local && !s.Built:
				t.Builder, t.Here = builder, true
			case far && s.Built:
				t.Cluster, t.Builder, t.Node = remote.Cluster, c.Cluster, remote.Peer.String()
				t.ToMember, t.FromMember = t.FromMember, t.ToMember
			case far:
				t.Node = remote.Peer.String()
			default:
				continue // listed with the member, or just opened or ended
			}
			if list.Tunnels = append(list.Tunnels, t); len(list.Tunnels) == mostTunnels {
				return list, nil
			}
		}
	}
	return list, nil
}

func tunnelsOf(c *messaging.Conn) *tunnel.Table { return c.Sink().(relay.Tunneler).Tunnels() }
