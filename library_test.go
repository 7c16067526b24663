package iris_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/internal/conform"
	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The conformance suite plays what programs expect of a node on this library, as
// the node's own tests do on programs that share nothing with it.

// TestExpectations runs in invented time, where the writing goroutine alone writes
// and where the suite sees what passes between library and node.
func TestExpectations(t *testing.T) {
	conform.Run(t, conform.Env{Virtual: true, Start: func(t testing.TB) *conform.Node {
		l := memnet.Listen("relay")
		return startNode(t, l, l.Dial, true)
	}}, conform.Expectations())
}

func TestExpectationsOverTCP(t *testing.T) {
	conform.Run(t, overSockets("tcp", func() string { return "127.0.0.1:0" }), conform.Expectations())
}

// TestExpectationsOverUnixSocket plays the quick ones.
func TestExpectationsOverUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "iris-test-") // t.TempDir may be too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var quick []conform.Case
	for _, c := range conform.Expectations() {
		if strings.HasSuffix(c.Name, "/back to back") {
			quick = append(quick, c)
		}
	}
	var nodes atomic.Int64
	conform.Run(t, overSockets("unix", func() string { return filepath.Join(dir, fmt.Sprint(nodes.Add(1), ".sock")) }), quick)
}

// overSockets has each node listen on an address of its own.
func overSockets(network string, address func() string) conform.Env {
	return conform.Env{Start: func(t testing.TB) *conform.Node {
		l, err := net.Listen(network, address())
		if err != nil {
			t.Fatal(err)
		}
		return startNode(t, l, func() (net.Conn, error) { return net.Dial(network, l.Addr().String()) }, false)
	}}
}

// startNode starts a node that listener and dial lead to, in invented time or not.
func startNode(t testing.TB, l net.Listener, dial func() (net.Conn, error), virtual bool) *conform.Node {
	n, err := node.New(node.Config{Dev: true, Listeners: []net.Listener{l}, Memory: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return &conform.Node{
		Dial:  dial,
		Close: func() { n.Close() },
		Attach: func(dial func() (net.Conn, error), svc *conform.Service) (conform.Program, error) {
			return attach(dial, svc, virtual)
		},
	}
}

func attach(dial func() (net.Conn, error), svc *conform.Service, virtual bool) (conform.Program, error) {
	p := &player{topics: make(map[string]*iris.Subscription)}
	config := iris.Config{Dial: func(context.Context) (net.Conn, error) { return dial() }}
	var err error
	if svc == nil {
		p.Client, err = config.Connect(bg)
	} else {
		config.Broadcasts, config.Requests = iris.Limits(svc.Broadcasts), iris.Limits(svc.Requests)
		p.Client, err = config.Register(bg, svc.Cluster, served{svc, virtual, &p.handlers})
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// theirs returns err in the words of the suite.
func theirs(err error) error {
	var remote *iris.RemoteError
	switch {
	case errors.As(err, &remote):
		return conform.Fault(remote.Text)
	case errors.Is(err, iris.ErrTimeout):
		return conform.ErrTimeout
	case errors.Is(err, iris.ErrClosed), errors.Is(err, io.EOF):
		return conform.ErrClosed
	}
	return err
}

// within returns a context that ends after limit, or never if that is 0.
func within(limit time.Duration) (context.Context, context.CancelFunc) {
	if limit == 0 {
		return bg, func() {}
	}
	return context.WithTimeout(bg, limit)
}

// A player is a conform.Program.
type player struct {
	*iris.Client
	handlers handlers

	mu     sync.Mutex
	topics map[string]*iris.Subscription
}

// handlers are those of a program, to be waited for.
type handlers struct {
	mu      sync.Mutex
	over    bool
	running sync.WaitGroup
}

// run runs a handler, unless they are over.
func (h *handlers) run(handler func()) {
	h.mu.Lock()
	if h.over {
		h.mu.Unlock()
		return
	}
	h.running.Add(1)
	h.mu.Unlock()
	defer h.running.Done()
	handler()
}

// wait returns when none runs, nor will any more.
func (h *handlers) wait() {
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	h.running.Wait()
}

func (p *player) Broadcast(cluster, body string) error {
	return p.Client.Broadcast(bg, cluster, []byte(body))
}

func (p *player) Publish(topic, body string) error {
	return p.Client.Publish(bg, topic, []byte(body))
}

func (p *player) Subscribe(topic string, l conform.Limit, event func(body string)) error {
	s, err := p.SubscribeWith(bg, topic, iris.Limits(l), func(_ context.Context, e []byte) {
		p.handlers.run(func() { event(string(e)) })
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.topics[topic] = s
	return nil
}

func (p *player) Unsubscribe(topic string) error {
	p.mu.Lock()
	s := p.topics[topic]
	p.mu.Unlock()
	return s.Unsubscribe(bg)
}

func (p *player) Request(cluster, body string, timeout time.Duration) (string, error) {
	start := time.Now()
	ctx, cancel := within(timeout)
	defer cancel()
	reply, err := p.Client.Request(ctx, cluster, []byte(body))
	if err = theirs(err); err == conform.ErrTimeout && time.Since(start) < timeout {
		err = fmt.Errorf("request timed out after %v, its time was %v", time.Since(start), timeout)
	}
	return string(reply), err
}

func (p *player) Open(cluster string, timeout time.Duration) (conform.Tunnel, error) {
	start := time.Now()
	ctx, cancel := within(timeout)
	defer cancel()
	t, err := p.Client.Tunnel(ctx, cluster)
	if err = theirs(err); err == conform.ErrTimeout && time.Since(start) < timeout {
		err = fmt.Errorf("tunnel timed out after %v, its time was %v", time.Since(start), timeout)
	}
	if err != nil {
		return nil, err
	}
	return newConduit(t), nil
}

// Close waits for handlers, too: none may outlive its scene.
func (p *player) Close() error {
	err := p.Client.Close()
	p.handlers.wait()
	return err
}

func (p *player) Err() error { return theirs(p.Client.Err()) }

func (p *player) Dropped() int {
	s := p.Stats()
	return int(s.Broadcasts.Dropped + s.Events.Dropped)
}

// A conduit is a conform.Tunnel.
type conduit struct {
	*iris.Tunnel
	once   sync.Once
	closed chan struct{}
}

func newConduit(t *iris.Tunnel) *conduit { return &conduit{Tunnel: t, closed: make(chan struct{})} }

func (c *conduit) Send(body []byte, limit time.Duration) error {
	ctx, cancel := within(limit)
	defer cancel()
	return theirs(c.Tunnel.Send(ctx, body))
}

func (c *conduit) Receive(limit time.Duration) ([]byte, error) {
	ctx, cancel := within(limit)
	defer cancel()
	body, err := c.Tunnel.Recv(ctx)
	return body, theirs(err)
}

func (c *conduit) Close() error {
	defer c.once.Do(func() { close(c.closed) })
	return c.Tunnel.Close()
}

// served is the iris.Handler of a conform.Service.
type served struct {
	svc      *conform.Service
	virtual  bool
	handlers *handlers
}

func (s served) HandleBroadcast(_ context.Context, msg []byte) {
	s.handlers.run(func() { s.svc.Broadcast(string(msg)) })
}

// HandleRequest waits for the answer, which may be given elsewhere.
func (s served) HandleRequest(ctx context.Context, body []byte) (reply []byte, err error) {
	s.handlers.run(func() {
		answered := make(chan struct{})
		s.svc.Request(&conform.Call{
			Body:    string(body),
			Timeout: s.timeout(ctx),
			Reply:   func(body string) { reply = []byte(body); close(answered) },
			Fail:    func(text string) { err = errors.New(text); close(answered) },
		})
		<-answered
	})
	return reply, err
}

// HandleTunnel waits for the tunnel to be closed, which may be done elsewhere.
func (s served) HandleTunnel(ctx context.Context, t *iris.Tunnel) {
	s.handlers.run(func() {
		c := newConduit(t)
		s.svc.Tunnel(c)
		select {
		case <-c.closed:
		case <-ctx.Done():
		}
	})
}

// timeout returns that of a request whose handler has just been called, 0 if it
// has none. What has passed since it came is known in invented time only: nothing.
func (s served) timeout(ctx context.Context) time.Duration {
	if !s.virtual {
		return -1
	}
	deadline, _ := ctx.Deadline()
	return max(0, time.Until(deadline))
}
