// Package core is the control plane of a node: one deterministic state machine
// that decides which connection is a member of which name. It is pure: events
// come in as calls, what follows from them goes out as data, and nothing in it
// reads a clock, starts a goroutine or touches a socket. It never holds
// payload. Not safe for concurrent use: one loop owns it.
//
// A node alone on its host needs no more than the registrations of its own
// programs; what other nodes know comes to it through the same output.
package core

import (
	"errors"
	"fmt"
)

// MaxNames is how many names one connection may be a member of.
const MaxNames = 10_000

// What a registration is refused with.
var (
	ErrTooMany = errors.New("too many programs attached")
	ErrNames   = fmt.Errorf("more than %d names registered", MaxNames)
)

// A Kind says what a name is the name of; the two have a name space each.
type Kind byte

const (
	Cluster Kind = 1
	Topic   Kind = 2
)

// A Conn names a connection for the life of the process.
type Conn uint64

// A Change is a connection that became a member of a name, or ceased to be one.
type Change struct {
	Kind Kind
	Name string
	Conn Conn
	Join bool
}

// Output is what follows from an event, in order. The caller reuses it.
type Output struct{ Changes []Change }

// Core is the control plane's state.
type Core struct {
	limit int
	conns map[Conn]*conn
}

// conn is what one connection is registered for.
type conn struct {
	cluster string   // empty: client-only
	topics  []string // in the order of subscription
	index   map[string]int
}

// New returns a core that takes limit connections.
func New(limit int) *Core {
	return &Core{limit: limit, conns: make(map[Conn]*conn)}
}

// Attach registers a new connection, as a member of cluster unless that is
// empty.
func (c *Core) Attach(id Conn, cluster string, out *Output) error {
	if len(c.conns) >= c.limit {
		return ErrTooMany
	}
	c.conns[id] = &conn{cluster: cluster}
	if cluster != "" {
		out.Changes = append(out.Changes, Change{Cluster, cluster, id, true})
	}
	return nil
}

// Subscribe makes the connection a member of topic. It reports false when it
// was one (R18).
func (c *Core) Subscribe(id Conn, topic string, out *Output) (bool, error) {
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
	out.Changes = append(out.Changes, Change{Topic, topic, id, true})
	return true, nil
}

// Unsubscribe ends a membership. It reports false when there was none (R19).
func (c *Core) Unsubscribe(id Conn, topic string, out *Output) bool {
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
	out.Changes = append(out.Changes, Change{Topic, topic, id, false})
	return true
}

// Detach ends every membership of the connection and forgets it.
func (c *Core) Detach(id Conn, out *Output) {
	s := c.conns[id]
	if s == nil {
		return
	}
	delete(c.conns, id)
	if s.cluster != "" {
		out.Changes = append(out.Changes, Change{Cluster, s.cluster, id, false})
	}
	for _, t := range s.topics {
		out.Changes = append(out.Changes, Change{Topic, t, id, false})
	}
}

// Len returns how many connections are attached.
func (c *Core) Len() int { return len(c.conns) }
