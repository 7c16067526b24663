package iris

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// Config says how a program attaches to its node. The zero value is right for
// most programs.
type Config struct {
	// Address is where the node's relay is:
	//
	//	""           port 55555 of this host: its Unix socket where there is
	//	             one that may be trusted (Linux), else TCP
	//	"PORT"       the same for another port
	//	"HOST:PORT"  TCP
	//	"/PATH"      a Unix socket (Linux)
	//
	// A Unix socket is trusted if the process that serves it belongs to root or
	// to the program's own user, which the kernel tells; one of another user in the
	// place of the node's is an error. It is faster than TCP.
	Address string

	// Dial, unless nil, opens the connection in place of Address.
	Dial func(ctx context.Context) (net.Conn, error)

	// Limits of what waits for a handler and what runs in it. Requests are those
	// to a member's cluster, by default handled 4 for every CPU at a time.
	// Broadcasts are those to the cluster, Events those of each subscription:
	// both by default one at a time, which keeps them in order. The default for
	// what may wait is 64 MiB each.
	Requests, Broadcasts, Events Limits

	// MaxMessage bounds the body of one message in octets, both ways; 0: 64 MiB.
	// A node may be set to take less, and ends the connection of a program that
	// sends more than that.
	MaxMessage int

	// Timeout bounds requests and the opening of tunnels where the context has
	// no deadline; 0: a minute.
	Timeout time.Duration

	// Reconnect has a client whose connection was lost attach again, register
	// and subscribe again, until it is closed or the node speaks another
	// version. What was under way meanwhile fails with ErrLost; what is begun
	// meanwhile waits. Events and broadcasts of that time are missed.
	Reconnect bool

	// Log is where the client tells what it drops and when its connection comes
	// and goes; nil: nowhere.
	Log *slog.Logger
}

// Limits bounds the messages that wait for a handler and those it works on. A
// field that is 0 has the default of where the Limits are for. Since a small
// message takes memory too, no more of them may wait than 4,096 and one for every
// 64 octets of Memory.
type Limits struct {
	Threads int // handlers that run at once
	Memory  int // octets that may wait; a message beyond that is dropped
}

// or returns l with defaults in place of what is 0.
func (l Limits) or(threads int) Limits {
	if l.Threads == 0 {
		l.Threads = threads
	}
	if l.Memory == 0 {
		l.Memory = 64 << 20
	}
	return l
}

// jobs returns how many messages may wait, however small.
func (l Limits) jobs() int { return 4096 + l.Memory/64 }

const (
	attachLimit = 5 * time.Second // for the node to answer when a program attaches or leaves
	maxTimeout  = relaywire.MaxTimeout * time.Millisecond
)

// Connect attaches the program to the node of this host, as a client. The error
// is ErrNoNode, ErrNotIris, ErrUntrusted or a *DeniedError where it is one of
// those, and says what to do.
func Connect(ctx context.Context) (*Client, error) { return Config{}.Connect(ctx) }

// Register attaches the program to the node of this host as a member of cluster,
// whose messages h takes. They may come before Register returns. Errors are
// those of Connect.
func Register(ctx context.Context, cluster string, h Handler) (*Client, error) {
	return Config{}.Register(ctx, cluster, h)
}

// Connect is the function Connect with a configuration.
func (c Config) Connect(ctx context.Context) (*Client, error) { return c.attach(ctx, "", nil) }

// Register is the function Register with a configuration.
func (c Config) Register(ctx context.Context, cluster string, h Handler) (*Client, error) {
	if cluster == "" {
		return nil, errors.New("iris: register: no cluster: give it a name, or use Connect to be no member of any")
	}
	if len(cluster) > relaywire.DefaultLimits.Handshake {
		return nil, fmt.Errorf("iris: register: %w: the name of a cluster has %d octets at most, this one %d", ErrTooLarge, relaywire.DefaultLimits.Handshake, len(cluster))
	}
	if h == nil {
		return nil, errors.New("iris: register: no handler: give one, or use Connect to take no messages")
	}
	return c.attach(ctx, cluster, h)
}

func (c Config) attach(ctx context.Context, cluster string, h Handler) (*Client, error) {
	for _, l := range []Limits{c.Requests, c.Broadcasts, c.Events} {
		if l.Threads < 0 || l.Memory < 0 {
			return nil, fmt.Errorf("iris: limits of %d threads and %d octets: neither may be below 0", l.Threads, l.Memory)
		}
	}
	if c.MaxMessage < 0 || c.Timeout < 0 {
		return nil, fmt.Errorf("iris: largest message of %d octets and timeout of %v: neither may be below 0", c.MaxMessage, c.Timeout)
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = relaywire.DefaultLimits.Body
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Requests = c.Requests.or(4 * runtime.GOMAXPROCS(0))
	c.Broadcasts = c.Broadcasts.or(1)
	c.Events = c.Events.or(1)

	cl := newClient(c, cluster, h)
	if err := cl.start(ctx); err != nil {
		return nil, fmt.Errorf("iris: %w", err)
	}
	return cl, nil
}
