package node

import (
	"cmp"
	"os"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
)

// Status is what a node says of itself. Every figure is one it counts or holds;
// those that count go up from the start.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Network string    `json:"network"` // empty: dev
	Dev     bool      `json:"dev"`
	Started time.Time `json:"started"`
	Relay   []string  `json:"relay"` // addresses it serves programs on

	Programs int `json:"programs"` // attached now
	Tunnels  int `json:"tunnels"`  // open now

	Clusters []NameStatus `json:"clusters"`
	Topics   []NameStatus `json:"topics"`

	Memory MemoryStatus `json:"memory"`

	Sent    SentStatus        `json:"sent"`    // by programs, by primitive
	Retried uint64            `json:"retried"` // calls handed to another member: the first had provably not started them
	Ended   map[string]uint64 `json:"ended"`   // connections, by why
	Dropped map[string]uint64 `json:"dropped"` // by what and why
}

// NameStatus is a cluster or topic with members on this node.
type NameStatus struct {
	Name    string `json:"name"`
	Members int    `json:"members"`
	Load    int    `json:"load"` // of a cluster: requests in its members' hands
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
	var clusters, topics []messaging.Name
	var totals messaging.Totals
	s := &Status{
		Version: n.config.Version,
		PID:     os.Getpid(),
		Network: n.config.Network,
		Dev:     n.config.Dev,
		Started: n.started,
		Relay:   n.addrs,
	}
	if !n.do(func(time.Time, *queue.Batch) {
		clusters, topics, totals = n.plane.Report()
		s.Programs = n.loop.Core.Len()
	}) {
		return nil, ErrClosed
	}
	s.Clusters, s.Topics = names(clusters), names(topics)
	s.Sent = SentStatus(totals)
	s.Tunnels = int(n.tunnels.Open.Load())
	s.Memory = MemoryStatus{n.plane.Budget.Used(), n.plane.Budget.Limit()}

	e := &n.relay.Ends
	s.Ended = map[string]uint64{
		"orderly":          e.Orderly.Load(),
		"lost":             e.Lost.Load(),
		"violation":        e.Violations.Load(),
		"slow":             e.Slow.Load(),
		"limit":            e.Limits.Load(),
		"handshake failed": e.Handshakes.Load(),
		"relay full":       e.Full.Load(),
		"foreign user":     n.refusals.Load(),
	}
	d := &n.plane.Drops
	s.Retried = d.Retried.Load()
	s.Dropped = map[string]uint64{
		"calls refused: too many pending": d.Pending.Load(),
		"parked bodies let go":            d.Parked.Load(),
		"late replies":                    d.LateReplies.Load(),
		"expired before they were served": d.Expired.Load(),
		"requests lost with their member": d.Lost.Load(),
		"tunnels refused: memory":         d.Tunnels.Load(),
		"tunnels broken":                  n.tunnels.Broken.Load(),
	}
	return s, nil
}

// names returns the names in order.
func names(in []messaging.Name) []NameStatus {
	slices.SortFunc(in, func(a, b messaging.Name) int { return cmp.Compare(a.Name, b.Name) })
	out := make([]NameStatus, len(in))
	for i, n := range in {
		out[i] = NameStatus(n)
	}
	return out
}
