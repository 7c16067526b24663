package link

import (
	"fmt"
	"sync/atomic"
)

// A Reason says why a link ended.
type Reason byte

// The reasons.
const (
	Lost         Reason = iota // a connection broke, or ended without a word
	Closed                     // this node closed it
	ClosedByPeer               // the other node closed it, and said so
	Replaced                   // the other node had lost it, and dialled a new one
	Violation                  // the other node broke the protocol
	Slow                       // the other node did not read what it was sent
	KeyLimit                   // its keys were worn out, and no new connection came about
	NoData                     // its data connection could not be opened
	Stopped                    // this node stops
	Reasons                    // how many there are
)

// String returns the reason as counters and logs have it.
func (r Reason) String() string {
	return [...]string{
		"lost", "closed", "closed by peer", "replaced", "protocol violation",
		"peer does not read", "key limit", "no data connection", "node stops",
	}[r]
}

// lost reports whether a link that ended so is wanted again at once: nobody meant to
// end it.
func (r Reason) lost() bool { return r == Lost || r == Slow || r == KeyLimit || r == NoData }

// told reports whether the other node is told before a link ends at once.
func (r Reason) told() bool { return r == Violation || r == Slow || r == KeyLimit || r == NoData }

// code is what stands for the reason in an ERROR frame.
func (r Reason) code() uint16 { return uint16(r) }

// An Error is why a link ended, as Handler.Down has it.
type Error struct {
	Reason Reason
	Text   string // more about it; may be empty
}

// Error returns the reason, and what more there is.
func (e *Error) Error() string {
	if e.Text == "" {
		return e.Reason.String()
	}
	return fmt.Sprintf("%v: %s", e.Reason, e.Text)
}

// Stats counts what happened to the links of a node. Safe for concurrent use.
type Stats struct {
	Closed   [Reasons]atomic.Uint64 // links ended
	Anchors  [4]atomic.Uint64       // links that came up, by the network key that vouched for the peer
	Skipped  atomic.Uint64          // unknown frames that may be skipped
	Bad      atomic.Uint64          // frames that broke the protocol
	Aborted  atomic.Uint64          // messages in fragments given up by their sender
	Stalled  atomic.Uint64          // those of which nothing came any more
	NoMemory atomic.Uint64          // those for which memory was short
	Renewed  atomic.Uint64          // connections that took the place of older ones
	Overflow atomic.Uint64          // routed frames for which there was no room
	Expired  atomic.Uint64          // requests whose time was up before they left
}
