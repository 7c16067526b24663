package main

import (
	"strings"
	"time"
)

// A record is a line of the history that a program writes, as JSON: what it is about
// to do, or what it has seen and not yet acted upon. A program that is killed between
// two lines has done no more than they say.
type record struct {
	At   int64 `json:"at"` // nanoseconds of the machine's monotonic clock, which all processes share
	What event `json:"what"`

	Session string `json:"session,omitempty"` // of the program with a node; new with each connection
	Node    string `json:"node,omitempty"`    // attaching: a start of a node
	ID      string `json:"id,omitempty"`      // of a request or tunnel, new with each
	To      string `json:"to,omitempty"`      // the name it is for: a cluster or topic
	From    string `json:"from,omitempty"`    // heard: the session that published
	N       uint64 `json:"n,omitempty"`       // published, heard: number in its stream, from 1
	In      uint64 `json:"in,omitempty"`      // octets that came out of a tunnel here
	Out     uint64 `json:"out,omitempty"`     // octets that were put into it here
	Sum     uint64 `json:"sum,omitempty"`     // CRC-64 of the octets that came out
	Side    side   `json:"side,omitempty"`    // of a tunnel
	Why     string `json:"why,omitempty"`     // how it ended; of a request, what the answer was
}

// An event is what a record tells.
type event string

const (
	attaching event = "attaching" // a session begins
	ready     event = "ready"     // it is registered and subscribed
	detached  event = "detached"  // it is over

	asked    event = "asked"    // a request is about to be sent
	answered event = "answered" // it was answered
	executed event = "executed" // by a service, which answers next

	published event = "published" // an event or broadcast is about to be sent
	heard     event = "heard"

	opening  event = "opening"  // a tunnel is about to be asked for
	unopened event = "unopened" // there was none
	opened   event = "opened"   // both sides have it
	closing  event = "closing"  // this side closes it in order; it has put in all it will
	ended    event = "ended"    // this side is told that it is over, or has closed it
)

// A side is one of a tunnel.
type side string

const (
	opener   side = "opener"
	acceptor side = "acceptor"
)

// requestTime is what each request has, which is far longer than it takes: how many
// are answered in time is no promise, that each is answered is.
const requestTime = 4 * time.Second

// The answers to a request.
const (
	replied  = "reply"
	fault    = "fault"
	timedOut = "timeout"
	lost     = "lost" // the connection to the node is
	refused  = "refused"
)

// The ends of a tunnel.
const (
	endClosed = "closed" // by this side, in order
	endEOF    = "eof"    // by the other side, in order
	endBroken = "broken"
	endLost   = "lost" // the connection to the node is
	endOther  = "other"
)

// programOf returns the name of the program that has a session.
func programOf(session string) string {
	return session[:max(0, strings.LastIndexByte(session, '.'))]
}
