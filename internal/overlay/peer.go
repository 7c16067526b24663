package overlay

import (
	"slices"
	"time"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// A path is how a peer is reached.
type path byte

const (
	untried  path = iota
	dialling      // a Dial is out
	linked        // directly
	indirect      // by way of another node, as no link came about
	broken        // not at all, as far as is known; dialled again at retry
)

// A peer is a node that this one has to do with itself, while the view holds
// what is only known from others.
type peer struct {
	id      ring.ID
	addrs   []wire.Addr
	state   wire.State // as it said itself
	path    path
	since   time.Time // of path
	via     ring.ID   // who reaches an indirect one
	dialled bool      // the link was dialled from here
	met     bool      // there was a link

	// Links: what it is needed for.
	leaf, long bool
	neighbour  bool      // nobody nearer on its side answers: watched
	needed     time.Time // last, for anything
	wanted     time.Time // last, for a program
	failures   int       // of dials in a row
	retry      time.Time
	obliged    bool      // it asked to be dialled
	called     time.Time // when it was last asked to dial this node

	// Exchange of leaf sets.
	asked    int     // how many LEAVES of it are answers
	answered bool    // they came since this node began to join
	lists    bool    // and had this node in them
	lowest   ring.ID // lowest Solo node it told of

	// Failure detection.
	seen    time.Time // when it was last heard
	probe   probe
	rtt     estimate
	verdict time.Time // under suspicion: when it is dead
	inquiry uint64    // nonce of what others are asked about it

	// Comparison of views.
	compared time.Time // when it was last sent our sums
	getting  time.Time // what comes until then may be old
}

// reachable reports whether it can be a leaf: there was direct contact, or others
// vouch for it.
func (p *peer) reachable() bool { return p.path == linked || p.path == indirect }

// routes reports whether frames for others may be handed to it.
func (p *peer) routes() bool {
	return p.path == linked && (p.state == wire.Active || p.state == wire.InLeaving)
}

// answers reports whether it is not long since it did.
func (p *peer) answers() bool { return p.verdict.IsZero() && p.probe.tries < 2 }

// isActive reports whether it may be asked things.
func (p *peer) isActive() bool { return p.path == linked && p.state == wire.Active }

func (p *peer) move(now time.Time, to path) {
	p.path, p.since, p.probe = to, now, probe{}
	if to != indirect {
		p.via = ring.ID{}
	}
}

// peers are sorted by id.
type peers []*peer

func (ps peers) locate(id ring.ID) (int, bool) {
	low, high := 0, len(ps)
	for low < high {
		if mid := (low + high) / 2; ps[mid].id.Less(id) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, low < len(ps) && ps[low].id == id
}

// find returns the peer with that id, or nil.
func (ps peers) find(id ring.ID) *peer {
	if i, ok := ps.locate(id); ok {
		return ps[i]
	}
	return nil
}

// add returns the peer with that id, a new one if need be.
func (ps *peers) add(id ring.ID) *peer {
	i, ok := ps.locate(id)
	if !ok {
		*ps = slices.Insert(*ps, i, &peer{id: id})
	}
	return (*ps)[i]
}

// count returns how many are as f says.
func (ps peers) count(f func(*peer) bool) (n int) {
	for _, p := range ps {
		if f(p) {
			n++
		}
	}
	return n
}

// pick returns one of those that are as f says, or nil.
func (o *Overlay) pick(f func(*peer) bool) *peer {
	n := o.peers.count(f)
	if n == 0 {
		return nil
	}
	n = o.rng.IntN(n)
	for _, p := range o.peers {
		if f(p) {
			if n == 0 {
				return p
			}
			n--
		}
	}
	return nil
}
