package conform

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// A Program is attached to the node under test: what Expectations plays its
// scenes with. Its methods may be called concurrently.
type Program interface {
	Broadcast(cluster, body string) error
	Publish(topic, body string) error

	// Subscribe has event called for every event of the topic, within l.
	Subscribe(topic string, l Limit, event func(body string)) error
	Unsubscribe(topic string) error

	// Request asks a member of the cluster. The error may be ErrTimeout, not
	// before the timeout, a Fault, or after Close ErrClosed.
	Request(cluster, body string, timeout time.Duration) (string, error)

	// Open builds a tunnel to a member of the cluster. The error may be
	// ErrTimeout, not before the timeout.
	Open(cluster string, timeout time.Duration) (Tunnel, error)

	// Close detaches in order: it returns when the node has confirmed it, and
	// fails if the node did not or gave a reason. Called again it says the same.
	Close() error

	// Done is closed when the program is no longer attached, and Err then says
	// why: ErrClosed after Close, all else fails the scene.
	Done() <-chan struct{}
	Err() error

	// Dropped counts the broadcasts and events that were over a limit.
	Dropped() int
}

// A Tunnel is an end of a tunnel. One goroutine may send while another receives.
type Tunnel interface {
	// Send sends body as one message, and Receive returns the next one. After
	// limit they return ErrTimeout, a message partly sent being abandoned; with
	// limit 0 they wait for ever. Once either end has closed the tunnel, and
	// what came before is received, they return ErrClosed.
	Send(body []byte, limit time.Duration) error
	Receive(limit time.Duration) ([]byte, error)

	// Close closes the tunnel, if the other end did not, and waits for the
	// node's word or the end of the connection. It fails if a reason is given.
	Close() error
}

// A Service is what a program registers. It has all handlers.
type Service struct {
	Cluster   string
	Broadcast func(body string)
	Request   func(r *Call)
	Tunnel    func(t Tunnel) // may return long before t is closed

	Broadcasts, Requests Limit

	// Discard, unless 0, allows inbound tunnels to forget the octets of larger
	// messages.
	Discard int
}

// A Limit bounds the queue before a handler: how many messages are handled at
// once while the others wait, and how many octets may wait. A message beyond
// that is dropped. Zero means what the library does of itself.
type Limit struct {
	Threads int
	Memory  int
}

// A Call is a request as its service sees it. It is answered once, with Reply or
// Fail, from any goroutine, before the handler returns or later.
type Call struct {
	Body    string
	Timeout time.Duration // as the requester gave it; below 0: the library does not tell
	Reply   func(body string)
	Fail    func(text string)
}

// What operations end with beside success and a fault.
var (
	ErrTimeout = errors.New("time is over")
	ErrClosed  = errors.New("closed")
)

// A Fault is the text a service failed a request with.
type Fault string

func (e Fault) Error() string { return fmt.Sprintf("fault %q", string(e)) }

// An Attach function attaches a program over a connection that dial opens, as a
// service if svc is not nil, and returns once the node has accepted it. In
// invented time the connection is tapped: a Checker sees what passes, and tunnels
// are slowed to the pace of a network. When the program's Close has returned, no
// goroutine of the program is running and no handler of the service.
type Attach func(dial func() (net.Conn, error), svc *Service) (Program, error)
