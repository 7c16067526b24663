package relay

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/tunnel"
)

// Times and bounds of section "Limits" of docs/relay-v1.md.
const (
	handshakeLimit = 5 * time.Second
	lingerLimit    = time.Second      // reading on after the last octet was sent
	brokenLimit    = time.Second / 10 // reading on after a write failed
	closeLimit     = 2 * time.Second  // sending the last octets to a program that is owed them
	unreadLimit    = 64 << 20         // octets that may wait for a program, and one message
)

// Control is the control loop as the relay needs it. Each call returns when what
// it asks for is effective for every connection of the node.
type Control interface {
	Attach(c *messaging.Conn) error
	Subscribe(c *messaging.Conn, topic []byte) (bool, error)
	Unsubscribe(c *messaging.Conn, topic []byte) (bool, error)
	Detach(c *messaging.Conn, why string)
}

// Config is what a Server is made of. All fields but the last are required.
type Config struct {
	Plane    *messaging.Plane
	Control  Control
	Tunnels  *tunnel.Stats
	Limits   relaywire.Limits
	MaxConns int
	Log      *slog.Logger

	// Abroad opens the tunnel that a program of this node has confirmed under id for
	// one of another node; nil: there are no other nodes. An error says why it cannot.
	Abroad func(b *queue.Batch, o messaging.Offer, t *tunnel.Table, id uint64) error
}

// A Server serves programs on any number of listeners.
type Server struct {
	Config
	Ends Ends

	mu      sync.Mutex
	closed  bool
	conns   map[*conn]struct{}
	running sync.WaitGroup // listeners and connections
}

// Ends counts why connections ended. Safe for concurrent use.
type Ends struct {
	Orderly    atomic.Uint64 // closed by the program
	Lost       atomic.Uint64 // end of input or a socket error
	Violations atomic.Uint64 // broke the protocol
	Slow       atomic.Uint64 // did not read what it was sent
	Limits     atomic.Uint64 // exceeded a limit of the node
	Handshakes atomic.Uint64 // never got past the handshake
	Full       atomic.Uint64 // found too many connections
	Drained    atomic.Uint64 // were there when the node ended
}

// NewServer returns a server without listeners.
func NewServer(c Config) *Server {
	return &Server{Config: c, conns: make(map[*conn]struct{})}
}

// Serve accepts programs on l until l or the server is closed. It returns at
// once; Close waits for it.
func (s *Server) Serve(l net.Listener) {
	s.running.Go(func() { s.accept(l) })
}

// accept never waits for a connection: each has its own goroutine from the start.
func (s *Server) accept(l net.Listener) {
	const most = time.Second
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Out of descriptors, or the program was gone before it was
			// accepted: the listener itself is sound.
			pause = min(max(2*pause, 5*time.Millisecond), most)
			s.Log.Warn("a program could not be accepted; trying again", "error", err, "in", pause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		c := newConn(s, nc)
		if !s.add(c) {
			nc.Close()
			continue
		}
		go c.serve()
	}
}

// add takes c in, unless the server is full or closed.
func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if len(s.conns) >= s.MaxConns {
		s.Ends.Full.Add(1)
		s.Log.Warn("a program was turned away: too many are attached", "limit", s.MaxConns)
		return false
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.running.Done()
}

// Close sends every program what waits for it and then a Close with reason, and
// returns when all connections are closed. The listeners must be closed before.
func (s *Server) Close(reason string) {
	s.mu.Lock()
	s.closed = true
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.stop(ending{cause: stopped, reason: reason})
	}
	s.running.Wait()
}

var _ queue.Flusher = (*conn)(nil)
