package node

import (
	"time"

	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/link"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/splice"
	"github.com/project-iris/iris/internal/wire"
)

// A reading is what a node's parts say of themselves, taken for a status or for metrics.
type reading struct {
	n *Node

	// As the loop has it.
	programs         int
	state            wire.State
	clusters, topics []messaging.Name
	totals           messaging.Totals
	known            []overlay.Known
	directory        directory.Stats
	lost, forged     uint64

	refused map[session.Code]uint64

	// Of other nodes; without a network all of it is 0.
	linkStats   *link.Stats
	tunnelStats *splice.Stats
	finder      discovery.FinderStats
	lan         discovery.LANStats
}

// read takes one. The error is ErrClosed.
func (n *Node) read() (*reading, error) {
	r := n.glance()
	if !n.do(func(time.Time, *queue.Batch) {
		c := n.loop.Core
		r.clusters, r.topics, r.totals = n.plane.Report()
		r.programs, r.state = c.Len(), c.State()
		r.known, r.directory, r.lost, r.forged = c.Nodes(), c.Directory(), c.Lost, c.Forged
	}) {
		return nil, ErrClosed
	}
	return r, nil
}

// glance is a reading that asks not the loop.
func (n *Node) glance() *reading {
	r := &reading{n: n, state: wire.Solo, linkStats: new(link.Stats), tunnelStats: new(splice.Stats), refused: n.refused.Counts()}
	if w := n.network; w != nil {
		r.linkStats, r.tunnelStats = &w.links.Stats, &w.splice.Stats
		r.finder = w.search.finder.Stats()
		if w.search.lan != nil {
			r.lan = w.search.lan.Stats()
		}
	}
	return r
}
