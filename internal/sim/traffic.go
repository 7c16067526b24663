package sim

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/messaging"
)

// Traffic is what programs send each other. Every node has one that is a member of
// a cluster and subscribes to all topics for as long as the node lives, one that
// only asks, and one that comes and goes as Turnover says.
type Traffic struct {
	For      time.Duration // from settling on
	Early    bool          // it begins with the first node instead, so that newcomers are not yet at home when they ask
	Rate     float64       // messages a second, of each program
	Turnover time.Duration // how long a program of the third kind lives in the mean; 0: for good

	// Slow is the share of requests that are never answered, and Handler how long
	// the others take in the mean.
	Slow    float64
	Handler time.Duration
	Timeout time.Duration // of requests, at most

	// Tunnels is how many tunnels a second each program builds, and Octets how many
	// octets go through one in the mean, each way.
	Tunnels float64
	Octets  int

	// Sever is the share of frames that lose their link while they are under way.
	Sever float64

	// Body is how many octets a publication has at most.
	Body int

	// Lossless says that no request of a node that stays may go without its reply.
	Lossless bool
	// Complete says that nothing published may be missed, and that the last message
	// is not followed by another which tells that it was.
	Complete bool
}

const (
	clusters = 2 // those that there are members of
	topics   = 2
	grace    = 5 * time.Millisecond // within which deadlines are told
)

// programs are those of a node, and what its permanent one was delivered.
type programs struct {
	all     []*program
	leaving bool
	thawed  time.Time         // when it stood still last
	sent    map[stream]uint64 // numbers of the last messages
	got     map[stream]uint64
	skipped uint64 // by got, in all
}

// A stream is what a node publishes to a name.
type stream struct {
	from int // its index
	kind core.Kind
	name int
}

func (s stream) String() string {
	return fmt.Sprintf("node %d to %s", s.from, s.title())
}

func (s stream) title() string {
	if s.kind == core.Topic {
		return fmt.Sprintf("topic-%d", s.name)
	}
	return fmt.Sprintf("cluster-%d", s.name)
}

// A call is a request of a program, and what has become of it.
type call struct {
	key      uint64
	from     *program
	asked    instant
	due      time.Time // by the clock of its node
	held     bool      // by a member's queue, or a member
	begun    int       // how often it was passed on to a member
	answered bool
	out      messaging.Outcome
}

func (n *node) populate() {
	n.agreed = map[[16]byte]*agreement{}
	n.m.Plane.Accepted, n.m.Plane.NoTunnel = n.accepted, n.refusesTunnel
	n.sent, n.got = map[stream]uint64{}, map[stream]uint64{}
	n.attach(n.index%clusters, topics)
	n.attach(-1, 0)
	n.guest()
}

// guest attaches a program that comes and goes.
func (n *node) guest() {
	w := n.w
	p := n.attach(w.rng.IntN(clusters), w.rng.IntN(topics+1))
	if w.Traffic.Turnover == 0 {
		return
	}
	w.after(time.Duration(w.rng.ExpFloat64()*float64(w.Traffic.Turnover)), func() {
		if n.alive && !n.leaving && w.now < w.cease {
			p.close()
			n.guest()
		}
	})
}

// speak has a program send a message now and then, while there is traffic.
func (p *program) speak() {
	w := p.n.w
	pause := time.Duration(w.rng.ExpFloat64() / w.Traffic.Rate * float64(time.Second))
	w.at(max(w.now, w.begin)+pause, func() {
		if w.now >= w.cease || p.closed || !p.n.alive || p.n.leaving {
			return
		}
		p.n.turn(func(now time.Time, m *machine) { p.say(now, m) })
		p.speak()
	})
}

func (p *program) say(now time.Time, m *machine) {
	w := p.n.w
	if p.closed || p.n.leaving {
		return // it has ended since
	}
	switch s := (stream{from: p.n.index}); w.rng.IntN(10) {
	case 0, 1:
		s.kind, s.name = core.Topic, w.rng.IntN(topics)
		p.conn.Publish(now, &m.batch, []byte(s.title()), p.n.number(s))
	case 2:
		s.kind, s.name = core.Cluster, w.rng.IntN(clusters)
		p.conn.Broadcast(now, &m.batch, []byte(s.title()), p.n.number(s))
	default:
		p.ask(now, m, w.rng.IntN(clusters))
	}
}

// speakLast has every node publish once more to every name, when all is well again:
// who missed something must find out.
func (w *world) speakLast() {
	if w.Traffic.Complete {
		return
	}
	for _, n := range w.alive {
		n.turn(func(now time.Time, m *machine) {
			for name := range topics {
				s := stream{n.index, core.Topic, name}
				n.all[0].conn.Publish(now, &m.batch, []byte(s.title()), n.number(s))
			}
			for name := range clusters {
				s := stream{n.index, core.Cluster, name}
				n.all[0].conn.Broadcast(now, &m.batch, []byte(s.title()), n.number(s))
			}
		})
	}
}

const numberSize = 18 // of a message, at least

// number returns the next message of a stream.
func (n *node) number(s stream) []byte {
	n.sent[s]++
	b := make([]byte, 0, numberSize)
	if w := n.w; w.Traffic.Body > 0 {
		b = make([]byte, 0, numberSize+w.rng.IntN(w.Traffic.Body))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(s.from))
	b = append(b, byte(s.kind), byte(s.name))
	b = binary.BigEndian.AppendUint64(b, n.sent[s])
	return b[:cap(b)]
}

func parseNumber(b []byte) (s stream, number uint64) {
	s.from = int(binary.BigEndian.Uint64(b))
	s.kind, s.name = core.Kind(b[8]), int(b[9])
	return s, binary.BigEndian.Uint64(b[10:])
}

func (p *program) ask(now time.Time, m *machine, cluster int) {
	p.askFor(now, m, fmt.Sprintf("cluster-%d", cluster), p.n.w.timeout())
}

func (p *program) askFor(now time.Time, m *machine, cluster string, timeout time.Duration) {
	w := p.n.w
	c := &call{key: uint64(len(w.calls)), from: p, asked: w.now, due: now.Add(timeout)}
	w.calls = append(w.calls, c)
	id := p.asked
	p.asked++
	p.open[id] = c
	body := binary.BigEndian.AppendUint64(nil, c.key)
	p.conn.Request(now, &m.batch, id, []byte(cluster), body, uint64(timeout/time.Millisecond))
}

// timeout returns that of a request or build.
func (w *world) timeout() time.Duration {
	if w.Traffic.Lossless {
		return w.Traffic.Timeout
	}
	t := w.Traffic.Timeout - w.jitter(w.Traffic.Timeout)/time.Millisecond*time.Millisecond
	return max(t, time.Millisecond)
}

// call returns the request with a body.
func (w *world) call(body []byte) *call { return w.calls[binary.BigEndian.Uint64(body)] }

// checkTraffic looks in the end at what became of everything.
func (w *world) checkTraffic() {
	for _, c := range w.calls {
		p := c.from
		switch {
		case p.closed || !p.n.alive:
		case !c.answered:
			w.violated(p.n, "M4: request %d was never answered", c.key)
		case w.Traffic.Lossless && c.out != messaging.Replied:
			w.violated(p.n, "M8, M16: request %d ended with outcome %d", c.key, c.out)
		}
	}
	for _, to := range w.alive {
		if to.sent == nil {
			continue
		}
		if gaps := to.m.Plane.Drops.Gaps(); w.Traffic.Complete && to.skipped+gaps > 0 {
			w.violated(to, "M8, M16: %d messages were missed, %d declared lost", to.skipped, gaps)
		}
		for _, from := range w.nodes {
			w.checkEnds(from, to)
		}
	}
}

// checkEnds looks whether a node was delivered the last message of every stream of
// another.
func (w *world) checkEnds(from, to *node) {
	if !from.alive && !(w.Traffic.Complete && from.leaving) {
		return
	}
	for name := range topics {
		w.checkEnd(from, to, stream{from.index, core.Topic, name})
	}
	w.checkEnd(from, to, stream{from.index, core.Cluster, to.index % clusters})
}

func (w *world) checkEnd(from, to *node, s stream) {
	if sent, got := from.sent[s], to.got[s]; sent != got {
		w.violated(to, "M5: of %v number %d came last, %d was sent", s, got, sent)
	}
}
