// Package core is the control plane of a node: one deterministic state machine
// that decides which connection is a member of which name, and stacks what nodes
// know of each other: overlay, who there is, and directory, who has members of a
// name. It is pure: events come in as calls, what follows from them goes out as
// data, and nothing in it reads a clock, starts a goroutine or touches a socket. It
// never holds payload. Not safe for concurrent use: one loop owns it.
package core

import (
	"errors"
	"fmt"
	"time"

	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// MaxNames is how many names one connection may be a member of.
const MaxNames = 10_000

// What a registration is refused with.
var (
	ErrTooMany = errors.New("too many programs attached")
	ErrNames   = fmt.Errorf("more than %d names registered", MaxNames)
)

// A Kind says what a name is the name of; the two have a name space each.
type Kind = wire.Kind

const (
	Cluster = wire.Cluster
	Topic   = wire.Topic
)

// A Conn names a connection for the life of the process.
type Conn uint64

// A Change is a connection that became a member of a name, or ceased to be one.
type Change struct {
	Kind    Kind
	Name    string
	Conn    Conn
	Join    bool
	Members int // of the name on this node, now
}

// Output is what follows from an event, each list in order. The caller reuses it.
type Output struct {
	Changes []Change         // of the programs of this node
	Steps   []directory.Step // of names that are watched, or published to
	News    []overlay.News   // of the network
	Data    []Data           // for the data plane
	Send    []Send           // over links
	Dial    []overlay.Dial
	Drop    []overlay.Drop
}

// Reset empties out and keeps its memory.
func (out *Output) Reset() {
	clear(out.Changes)
	clear(out.Data)
	clear(out.Send)
	clear(out.Dial)
	*out = Output{out.Changes[:0], out.Steps[:0], out.News[:0], out.Data[:0], out.Send[:0], out.Dial[:0], out.Drop[:0]}
}

// Data is a message for the data plane that came over a control connection.
type Data struct {
	From ring.ID
	Msg  wire.Message
}

// A Send is a control frame for a node that is linked: it goes to Target through
// it, if that is set.
type Send struct {
	To     ring.ID
	Origin ring.ID
	Target ring.ID
	Hops   byte
	Msg    wire.Message
}

// Config is what a Core starts with. With no Network the node is alone for good:
// nothing is told to others, and nothing costs anything for them.
type Config struct {
	Limit   int // connections at most
	Network string
	Self    ring.ID
	Addrs   []wire.Addr   // where other nodes may dial this one
	Seed    uint64        // of all random choices
	Links   int           // at most
	Workers int           // how many requests this node can work on at once
	Drain   time.Duration // how long draining may take
}

// Core is the control plane's state.
type Core struct {
	Config
	Lost      uint64 // control messages for nodes that cannot be reached
	Forwarded uint64 // those of others that were handed on
	Forged    uint64 // those that claim to be of this node, or of nobody

	conns map[Conn]*conn
	names map[title]int // members of this node

	overlay   *overlay.Overlay // nil: alone for good
	directory *directory.Directory
	ring      overlay.Output // reused
	dir       directory.Output
}

type title struct {
	kind Kind
	name string
}

// conn is what one connection is registered for.
type conn struct {
	cluster string   // empty: client-only
	topics  []string // in the order of subscription
	index   map[string]int
}

// New returns a core without connections, of a node that knows no other.
func New(now time.Time, c Config) *Core {
	core := &Core{Config: c, conns: make(map[Conn]*conn), names: make(map[title]int)}
	if c.Network != "" {
		core.overlay = overlay.New(now, overlay.Config{Self: c.Self, Addrs: c.Addrs, Seed: c.Seed, Budget: c.Links, Drain: c.Drain})
		core.directory = directory.New(now, c.Self, c.Seed, core.overlay)
	}
	return core
}

// Attach registers a new connection, as a member of cluster unless that is
// empty.
func (c *Core) Attach(now time.Time, id Conn, cluster string, out *Output) error {
	if len(c.conns) >= c.Limit {
		return ErrTooMany
	}
	c.conns[id] = &conn{cluster: cluster}
	if cluster != "" {
		c.change(now, Change{Kind: Cluster, Name: cluster, Conn: id, Join: true}, out)
	}
	return nil
}

// Subscribe makes the connection a member of topic. It reports false when it
// was one (R18).
func (c *Core) Subscribe(now time.Time, id Conn, topic string, out *Output) (bool, error) {
	s := c.conns[id]
	if s == nil {
		return false, nil
	}
	if _, ok := s.index[topic]; ok {
		return false, nil
	}
	if len(s.topics) >= MaxNames {
		return false, ErrNames
	}
	if s.index == nil {
		s.index = make(map[string]int)
	}
	s.index[topic] = len(s.topics)
	s.topics = append(s.topics, topic)
	c.change(now, Change{Kind: Topic, Name: topic, Conn: id, Join: true}, out)
	return true, nil
}

// Unsubscribe ends a membership. It reports false when there was none (R19).
func (c *Core) Unsubscribe(now time.Time, id Conn, topic string, out *Output) bool {
	s := c.conns[id]
	if s == nil {
		return false
	}
	i, ok := s.index[topic]
	if !ok {
		return false
	}
	last := len(s.topics) - 1
	s.topics[i] = s.topics[last]
	s.index[s.topics[i]] = i
	s.topics[last] = ""
	s.topics = s.topics[:last]
	delete(s.index, topic)
	c.change(now, Change{Kind: Topic, Name: topic, Conn: id}, out)
	return true
}

// Detach ends every membership of the connection and forgets it.
func (c *Core) Detach(now time.Time, id Conn, out *Output) {
	s := c.conns[id]
	if s == nil {
		return
	}
	delete(c.conns, id)
	if s.cluster != "" {
		c.change(now, Change{Kind: Cluster, Name: s.cluster, Conn: id}, out)
	}
	for _, t := range s.topics {
		c.change(now, Change{Kind: Topic, Name: t, Conn: id}, out)
	}
}

// change notes who became or ceased to be a member; the first member of a name and
// the last one are for other nodes to know.
func (c *Core) change(now time.Time, ch Change, out *Output) {
	t := title{ch.Kind, ch.Name}
	if ch.Join {
		c.names[t]++
	} else if c.names[t]--; c.names[t] == 0 {
		delete(c.names, t)
	}
	ch.Members = c.names[t]
	out.Changes = append(out.Changes, ch)
	if c.overlay == nil || c.State() == wire.InLeaving {
		return // what members there are serves this node only
	}
	c.directory.SetLocal(now, c.Key(ch.Kind, ch.Name), ch.Members, c.Workers, &c.dir)
	c.collect(now, out)
}

// Len returns how many connections are attached.
func (c *Core) Len() int { return len(c.conns) }
