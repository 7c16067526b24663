package node

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/admin"
	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
)

// An Event is something that happened at a node, as /events tells it in a line of
// JSON. docs/events.md says which have which fields.
type Event struct {
	Time    time.Time `json:"time"`
	Event   string    `json:"event"`
	Node    string    `json:"node,omitempty"`
	Address string    `json:"address,omitempty"`
	Program uint64    `json:"program,omitempty"`
	Cluster string    `json:"cluster,omitempty"`
	Topic   string    `json:"topic,omitempty"`
	State   string    `json:"state,omitempty"`
	Source  string    `json:"source,omitempty"`
	Code    string    `json:"code,omitempty"`
	What    string    `json:"what,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Count   uint64    `json:"count,omitempty"`
}

// Bounds of what is told of events.
const (
	mostFollowers = 16
	mostEvents    = 1024 // that wait for a follower
	mostOctets    = 1 << 20
	countEvery    = time.Second
	writeTime     = 10 * time.Second // for one event
	silence       = 30 * time.Second // until an empty line is sent
)

// events tells those who follow what happens. Nobody who publishes waits for them. Safe
// for concurrent use.
type events struct {
	count atomic.Int32 // of followers

	mu        sync.Mutex
	followers []*follower
}

// heard reports whether anybody follows: else nothing need be published.
func (e *events) heard() bool { return e.count.Load() > 0 }

// publish tells everybody who follows.
func (e *events) publish(ev Event) {
	line := ev.line()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.followers {
		f.add(line)
	}
}

// follow returns a follower of what happens from now on; nil: there are too many.
func (e *events) follow() *follower {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.followers) == mostFollowers {
		return nil
	}
	f := &follower{ready: make(chan struct{}, 1)}
	e.followers = append(e.followers, f)
	e.count.Add(1)
	return f
}

func (e *events) unfollow(f *follower) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.followers = slices.DeleteFunc(e.followers, func(o *follower) bool { return o == f })
	e.count.Add(-1)
}

// line returns ev as it is told.
func (ev Event) line() []byte {
	ev.Time = time.Now()
	b, err := json.Marshal(ev)
	if err != nil {
		panic(err) // it has texts and numbers only
	}
	return append(b, '\n')
}

// A follower is where events wait for one who reads them. Once one finds no room, it and
// all others are counted until something is taken, so that they are told in their place.
type follower struct {
	ready chan struct{} // something waits

	mu     sync.Mutex
	lines  [][]byte
	octets int
	missed uint64 // after the last line
}

func (f *follower) add(line []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.missed > 0 || len(f.lines) >= mostEvents || f.octets+len(line) > mostOctets {
		f.missed++
		return
	}
	f.lines = append(f.lines, line)
	f.octets += len(line)
	signal(f.ready)
}

// take returns what waits.
func (f *follower) take() [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := f.lines
	if f.missed > 0 {
		lines = append(lines, Event{Event: "missed", Count: f.missed}.line())
	}
	f.lines, f.octets, f.missed = nil, 0, 0
	return lines
}

// serveEvents answers with what happens, until the asker goes.
func (n *Node) serveEvents(w http.ResponseWriter, r *http.Request) {
	f := n.events.follow()
	if f == nil {
		err := fmt.Errorf("%d programs follow the events already: end one", mostFollowers)
		n.refused.Refuse(session.HTTPFull, admin.Host(r.RemoteAddr), ring.ID{}, err)
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer n.events.unfollow(f)
	before := n.tally()
	w.Header().Set("Content-Type", "application/x-ndjson")
	stream := http.NewResponseController(w)
	if stream.Flush() != nil || r.Method == http.MethodHead {
		return
	}
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for wrote := time.Now(); ; {
		select {
		case <-f.ready:
		case <-tick.C:
			now := n.tally()
			now.compare(before, f)
			before = now
		case <-r.Context().Done():
			return
		}
		lines := f.take()
		if len(lines) == 0 && time.Since(wrote) >= silence {
			lines = append(lines, []byte("\n")) // only a write tells that the asker is gone
		}
		for _, line := range lines {
			stream.SetWriteDeadline(time.Now().Add(writeTime))
			if _, err := w.Write(line); err != nil {
				return
			}
			wrote = time.Now()
		}
		if stream.Flush() != nil {
			return
		}
	}
}

// A tally is what is only counted where it happens, as on the way of messages. Each
// follower has it looked at, so it costs nothing where there is none.
type tally struct {
	dropped map[string]uint64
	trouble map[string]string // why a source finds nobody now, or for good; by its name
}

func (n *Node) tally() tally {
	r := n.glance()
	n.do(func(time.Time, *queue.Batch) {
		r.directory, r.lost, r.forged = n.loop.Core.Directory(), n.loop.Core.Lost, n.loop.Core.Forged
	})
	t := tally{make(map[string]uint64), make(map[string]string)}
	r.fill(t.dropped, dropped, droppedAbroad)
	for _, s := range r.finder.Sources {
		if err := cmp.Or(s.Ended, s.Trouble); err != nil {
			t.trouble[s.Name] = err.Error()
		}
	}
	return t
}

// compare tells f what came since before.
func (t tally) compare(before tally, f *follower) {
	for _, what := range slices.Sorted(maps.Keys(t.dropped)) {
		if more := t.dropped[what] - before.dropped[what]; more > 0 {
			f.add(Event{Event: "dropped", What: what, Count: more}.line())
		}
	}
	for _, source := range slices.Sorted(maps.Keys(t.trouble)) {
		if why := t.trouble[source]; discovery.Cause(why) != discovery.Cause(before.trouble[source]) {
			f.add(Event{Event: "source_trouble", Source: source, Reason: why}.line())
		}
	}
	for _, source := range slices.Sorted(maps.Keys(before.trouble)) {
		if _, still := t.trouble[source]; !still {
			f.add(Event{Event: "source_well", Source: source}.line())
		}
	}
}

// tellChanges tells which names have members now on this node, or none any more. Loop.
func (n *Node) tellChanges(changes []core.Change) {
	if len(changes) == 0 || !n.events.heard() {
		return
	}
	for _, c := range changes {
		var ev Event
		switch {
		case c.Join && c.Members == 1:
			ev.Event = "first_member"
		case !c.Join && c.Members == 0:
			ev.Event = "no_member"
		default:
			continue
		}
		if c.Kind == core.Cluster {
			ev.Cluster = c.Name
		} else {
			ev.Topic = c.Name
		}
		n.events.publish(ev)
	}
}

func (n *Node) tellRefusal(r session.Refusal) {
	if !n.events.heard() {
		return
	}
	ev := Event{Event: "refused", Code: string(r.Code), Address: r.Addr, Reason: r.Code.Meaning()}
	if !r.Peer.IsZero() {
		ev.Node = r.Peer.String()
	}
	if r.Err != nil {
		ev.Reason += ": " + r.Err.Error()
	}
	n.events.publish(ev)
}

func (n *Node) tellProgram(event string, c *messaging.Conn, reason string) {
	if n.events.heard() {
		n.events.publish(Event{Event: event, Program: uint64(c.ID), Cluster: c.Cluster, Reason: reason})
	}
}

// tellNode tells something of another node, or of this one.
func (n *Node) tellNode(event string, id ring.ID, address, reason string) {
	if n.events.heard() {
		n.events.publish(Event{Event: event, Node: id.String(), Address: address, Reason: reason})
	}
}
