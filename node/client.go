package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relay"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/tunnel"
)

// What a request, or the opening of a tunnel, comes to without an answer.
var (
	// ErrTimeout: the time has passed. It is context.DeadlineExceeded to
	// errors.Is.
	ErrTimeout error = deadlineError("no answer in time")

	// ErrNoMember: the time has passed, and there was no member of the cluster
	// to hand it to. It is context.DeadlineExceeded to errors.Is.
	ErrNoMember error = deadlineError("no member of the cluster appeared in time")

	// ErrLost: the member is gone that was serving it. It may have been carried
	// out or not.
	ErrLost = errors.New("the member that was serving the request is gone")

	// ErrBusy: it was handed to nobody, since too much is pending already. Wait
	// for some of that before trying again.
	ErrBusy = errors.New("too much is pending: try again later")
)

// deadlineError is an error that comes of a deadline.
type deadlineError string

func (e deadlineError) Error() string        { return string(e) }
func (e deadlineError) Timeout() bool        { return true }
func (e deadlineError) Is(target error) bool { return target == context.DeadlineExceeded }

// A RemoteError is a fault that a member answered a request with.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return "fault: " + e.Text }

// A closedError tells how a client ended; it is ErrClosed to errors.Is.
type closedError string

func (e closedError) Error() string        { return string(e) }
func (e closedError) Is(target error) bool { return target == ErrClosed }

// A Handler takes what comes to a service. Its methods, and the functions given
// to Subscribe, are called one at a time in the order of arrival. They may call
// any method of the client, but must not take long: what comes meanwhile waits,
// and a client is dropped that has more than 64 MiB waiting. Work that takes its
// time, and a request to the service's own cluster, belongs into a goroutine.
type Handler interface {
	// HandleBroadcast takes a broadcast to the cluster. It may keep msg.
	HandleBroadcast(msg []byte)

	// HandleRequest takes a request, to be answered then or later.
	HandleRequest(r *Request)

	// HandleTunnel takes a tunnel that somebody opened to the cluster, to be
	// closed when it is done with.
	HandleTunnel(t *Tunnel)
}

// A GapHandler is a Handler that is also told of what was lost. Without it gaps are only
// counted (Status, Dropped).
type GapHandler interface {
	Handler

	// HandleGap is told that messages which programs of another node sent will not
	// come, in the place of the first of them: what came from that node before is
	// older, what comes after is younger.
	HandleGap(g Gap)
}

// A Gap is messages that are declared lost: the link was slower than they were
// published, or it or their node was gone for too long.
type Gap struct {
	Topic     string // of the events, if they are events
	Broadcast bool   // they were broadcasts to the client's cluster
	Lost      uint64 // how many; 0: nobody knows
}

// NopHandler is a Handler to embed in one that does not need all methods: it
// ignores broadcasts, answers requests with a fault and closes tunnels.
type NopHandler struct{}

func (NopHandler) HandleBroadcast([]byte)   {}
func (NopHandler) HandleRequest(r *Request) { r.Fail("this service takes no requests") }
func (NopHandler) HandleTunnel(t *Tunnel)   { t.Close() }

var _ Handler = NopHandler{}

// A Request is one that a service is to answer, once: with Reply or Fail, from
// any goroutine, at any time. An answer after the timeout reaches nobody. Nothing
// tells the requester of one that is never answered: it waits for its timeout.
type Request struct {
	Body    []byte        // the handler's own
	Timeout time.Duration // as the requester gave it

	client   *Client
	id       uint64
	due      time.Time
	answered atomic.Bool
}

// Deadline returns when nobody waits for an answer any more, as far as this node can
// tell: the time that a request was on its way is not in it.
func (r *Request) Deadline() time.Time { return r.due }

// Reply answers the request with body, which the caller may use again when it
// returns. It fails when body is too large, which leaves the request to be
// answered, when it was answered before and when the client is closed.
func (r *Request) Reply(body []byte) error {
	if err := r.client.checkBody(len(body)); err != nil {
		return err
	}
	return r.answer(false, body)
}

// Fail answers the request with a fault: the requester gets a RemoteError. A
// text of more than 64 KiB is too long; errors are those of Reply.
func (r *Request) Fail(text string) error {
	if len(text) > relaywire.DefaultLimits.Name {
		return fmt.Errorf("fault text of %d octets is too long: at most %d", len(text), relaywire.DefaultLimits.Name)
	}
	return r.answer(true, []byte(text))
}

func (r *Request) answer(fault bool, body []byte) error {
	if r.answered.Swap(true) {
		return errors.New("request was answered before")
	}
	b, err := r.client.enter()
	if err != nil {
		return err
	}
	r.client.conn.Reply(time.Now(), b, r.id, fault, body)
	r.client.leave(b)
	return nil
}

// A Client is a program in the node's own process. Its methods are safe for
// concurrent use. When it has ended, whatever ended it, they return an error that
// is ErrClosed to errors.Is; Err tells the same.
type Client struct {
	node    *Node
	handler Handler
	conn    *messaging.Conn
	tunnels *tunnel.Table

	dispatched chan struct{} // closed when the dispatching goroutine has ended
	done       chan struct{} // closed when all has

	// Whoever holds reader plays the part of the goroutine that reads a socket:
	// only it calls conn. It is taken before any other lock, and its holder
	// waits for nothing else.
	reader sync.Mutex
	name   []byte // scratch

	// mu guards what follows. It is taken under the data plane's locks, and
	// nothing is taken under it.
	mu     sync.Mutex
	ending *ending // nil: it has not ended
	ids    uint64  // of calls and tunnels
	calls  map[uint64]*call
	free   *call
	topics map[string]*subscription
	inbox
}

// A call is a request or tunnel build that a goroutine waits for.
type call struct {
	waiter
	next   *call // while it is free
	id     uint64
	ended  bool
	out    messaging.Outcome
	err    error // takes the place of out: the client has ended
	body   []byte
	tunnel *Tunnel
}

// A subscription is a topic subscribed to, or about to be or no longer to be.
type subscription struct {
	handle func(event []byte) // nil: it is about to end
	active bool               // Subscribe has returned, and Unsubscribe not been called
}

// Connect attaches code in the node's own process to the running node, as a
// member of cluster, whose messages h takes; or, with an empty cluster, as a
// client only, which h may be nil for.
func (n *Node) Connect(cluster string, h Handler) (*Client, error) {
	switch {
	case len(cluster) > relaywire.DefaultLimits.Handshake:
		return nil, fmt.Errorf("cluster name of %d octets is too long to register: at most %d", len(cluster), relaywire.DefaultLimits.Handshake)
	case cluster != "" && h == nil:
		return nil, fmt.Errorf("a service of cluster %q needs a handler", cluster)
	case !n.up.Load():
		return nil, errors.New("node is not started")
	}
	c := &Client{
		node:       n,
		handler:    h,
		dispatched: make(chan struct{}),
		done:       make(chan struct{}),
		calls:      make(map[uint64]*call),
		topics:     make(map[string]*subscription),
	}
	c.inbox.init()
	c.conn = n.plane.NewConn(cluster, sink{c})
	c.conn.Early = true
	c.tunnels = tunnel.NewTable(sink{c}, n.plane.Budget, &n.tunnels)
	n.mu.Lock()
	if n.clients == nil {
		n.mu.Unlock()
		return nil, ErrClosed
	}
	n.clients[c] = struct{}{} // first, so that Close waits for it
	n.mu.Unlock()
	if err := (registry{n}).Attach(c.conn); err != nil {
		n.relay.Ends.Full.Add(1)
		n.forget(c)
		close(c.done)
		return nil, fmt.Errorf("connect: %w", err)
	}
	go c.serve()
	go c.dispatch()
	return c, nil
}

func (n *Node) forget(c *Client) {
	n.mu.Lock()
	delete(n.clients, c)
	n.mu.Unlock()
}

// closeClients ends the clients because the node ends.
func (n *Node) closeClients() {
	n.mu.Lock()
	clients := n.clients
	n.clients = nil
	n.mu.Unlock()
	for c := range clients {
		c.stop(&ending{err: ErrClosed, count: &n.relay.Ends.Drained, reason: Terminating, final: n.network == nil})
	}
	for c := range clients {
		<-c.done
	}
}

// Request sends a request to one member of cluster and waits for its answer. The
// timeout counts in milliseconds, rounded up, and ends with the deadline of ctx
// if that is sooner; with 0 it has passed at once. The caller may use body again
// when Request returns, and keep the reply. A fault comes back as a RemoteError;
// other errors are ErrTimeout, ErrNoMember, ErrLost and ErrBusy. When ctx is
// cancelled Request returns its error at once: the member is not told.
func (c *Client) Request(ctx context.Context, cluster string, body []byte, timeout time.Duration) ([]byte, error) {
	if err := checkCluster(cluster); err != nil {
		return nil, err
	}
	if err := c.checkBody(len(body)); err != nil {
		return nil, err
	}
	ms, err := lifetime(ctx, timeout)
	if err != nil {
		return nil, err
	}
	b, err := c.enter()
	if err != nil {
		return nil, err
	}
	k := c.call()
	c.conn.Request(time.Now(), b, k.id, c.named(cluster), body, ms)
	c.leave(b)
	body, _, err = c.await(ctx, k)
	return body, err
}

// Tunnel opens a tunnel to a member of cluster, which the caller closes when it
// is done with it. It waits until the deadline of ctx, or for a minute if ctx has
// none. Errors are those of Request.
func (c *Client) Tunnel(ctx context.Context, cluster string) (*Tunnel, error) {
	const patience = time.Minute
	if err := checkCluster(cluster); err != nil {
		return nil, err
	}
	timeout := patience
	if _, ok := ctx.Deadline(); ok {
		timeout = relaywire.MaxTimeout * time.Millisecond
	}
	ms, err := lifetime(ctx, timeout)
	if err != nil {
		return nil, err
	}
	if c.node.plane.Budget.Scarce() {
		c.node.plane.Drops.Tunnels.Add(1)
		return nil, ErrBusy
	}
	b, err := c.enter()
	if err != nil {
		return nil, err
	}
	k := c.call()
	c.tunnels.Building(k.id)
	c.conn.Build(time.Now(), b, k.id, c.named(cluster), ms)
	c.leave(b)
	_, t, err := c.await(ctx, k)
	if err != nil {
		return nil, err
	}
	t.allow(tunnelWindow)
	return t, nil
}

// Broadcast sends msg to every member of cluster, itself too if it is one. The
// caller may use msg again when it returns. That there is no member is no error.
func (c *Client) Broadcast(cluster string, msg []byte) error {
	if err := checkCluster(cluster); err != nil {
		return err
	}
	return c.spread((*messaging.Conn).Broadcast, cluster, msg)
}

// Publish sends event to every subscriber of topic, itself too if it is one. The
// caller may use event again when it returns. That there is no subscriber is no
// error. Publish and Broadcast wait while a link that is behind moves.
func (c *Client) Publish(topic string, event []byte) error {
	if err := checkName("topic", topic); err != nil {
		return err
	}
	return c.spread((*messaging.Conn).Publish, topic, event)
}

// spread sends a message to everybody of a name.
func (c *Client) spread(send func(c *messaging.Conn, now time.Time, b *queue.Batch, name, msg []byte), name string, msg []byte) error {
	if err := c.checkBody(len(msg)); err != nil {
		return err
	}
	b, err := c.enter()
	if err != nil {
		return err
	}
	send(c.conn, time.Now(), b, c.named(name), msg)
	c.leave(b)
	return nil
}

// Subscribe has handle called for every event of topic, as a Handler's methods
// are; it may keep the event. When Subscribe returns, no event published from
// then on is missed, save what a GapHandler is told of. A topic has one subscription
// at a time.
func (c *Client) Subscribe(topic string, handle func(event []byte)) error {
	if err := checkName("topic", topic); err != nil {
		return err
	}
	if handle == nil {
		return fmt.Errorf("subscribing to topic %q needs a function", topic)
	}
	s := &subscription{handle: handle}
	c.mu.Lock()
	switch {
	case c.ending != nil:
		c.mu.Unlock()
		return c.ending.err
	case c.topics[topic] != nil:
		c.mu.Unlock()
		return fmt.Errorf("topic %q is subscribed to already", topic)
	}
	c.topics[topic] = s
	c.mu.Unlock()

	fresh, err := registry{c.node}.Subscribe(c.conn, []byte(topic))
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		delete(c.topics, topic)
		return fmt.Errorf("subscribe to topic %q: %w", topic, err)
	case !fresh: // it was no longer attached
		return c.ending.err
	}
	s.active = true
	return nil
}

// Unsubscribe ends a subscription. When it returns, no more events are taken for
// its function, which may still be running.
func (c *Client) Unsubscribe(topic string) error {
	c.mu.Lock()
	s := c.topics[topic]
	switch {
	case c.ending != nil:
		c.mu.Unlock()
		return c.ending.err
	case s == nil || !s.active:
		c.mu.Unlock()
		return fmt.Errorf("topic %q is not subscribed to", topic)
	}
	s.active, s.handle = false, nil
	c.mu.Unlock()

	_, err := registry{c.node}.Unsubscribe(c.conn, []byte(topic))
	c.mu.Lock()
	delete(c.topics, topic)
	c.mu.Unlock()
	return err
}

// Close detaches the client. What it sent before is delivered; requests it has
// not been handed yet go to other members of its cluster; those it did not answer
// are lost. Tunnels are closed, and calls under way return. When Close returns
// no trace of the client is left on the node, and its name may be used anew. No
// handler is called any more, but Close does not wait for one that is running, so
// a handler may call it. It returns what ended the client if that was not Close.
func (c *Client) Close() error {
	c.stop(&ending{err: errClosedClient, count: &c.node.relay.Ends.Orderly})
	<-c.done
	if c.ending.err != errClosedClient {
		return c.ending.err
	}
	return nil
}

// Done is closed when the client has ended, by Close or for what Err tells.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns what ended the client; nil: nothing has.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != nil {
		return c.ending.err
	}
	return nil
}

// batches are those of calls that are not under way. What is in them when a
// caller gets them is nothing.
var batches = sync.Pool{New: func() any { return new(queue.Batch) }}

// flush ends a use of a batch.
func flush(b *queue.Batch) {
	b.Flush()
	batches.Put(b)
}

// enter makes the caller the reader, until leave.
func (c *Client) enter() (*queue.Batch, error) {
	c.reader.Lock()
	if err := c.Err(); err != nil {
		c.reader.Unlock()
		return nil, err
	}
	return batches.Get().(*queue.Batch), nil
}

func (c *Client) leave(b *queue.Batch) {
	c.reader.Unlock()
	b.Flush()
	if len(b.Crowds) > 0 {
		took := relay.WaitOut(b, func() bool { return c.Err() != nil })
		c.node.plane.Drops.Paused.Add(int64(took))
	}
	batches.Put(b)
}

// named returns a name as octets, for the reader to use until it leaves.
func (c *Client) named(name string) []byte {
	c.name = append(c.name[:0], name...)
	return c.name
}

// call notes a call under a new id.
func (c *Client) call() *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.free
	if k == nil {
		k = &call{waiter: newWaiter()}
	} else {
		c.free = k.next
	}
	c.ids++
	k.id = c.ids
	if c.ending != nil {
		c.finish(nil, k) // it ended meanwhile; who fails the calls has been
	} else {
		c.calls[k.id] = k
	}
	return k
}

// finish ends a call, once. c.mu is held.
func (c *Client) finish(b *queue.Batch, k *call) {
	delete(c.calls, k.id)
	k.ended = true
	if c.ending != nil {
		k.err = c.ending.err
	}
	c.rouse(b, &k.waiter)
}

// await waits for the end of a call. A deadline of ctx is not enough: the node's
// own follows it within two milliseconds, and tells more.
func (c *Client) await(ctx context.Context, k *call) (body []byte, t *Tunnel, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for err == nil && !k.ended {
		err = c.wait(ctx, &k.waiter)
		if errors.Is(err, context.DeadlineExceeded) {
			ctx, err = context.Background(), nil
		}
	}
	switch {
	case !k.ended:
		delete(c.calls, k.id) // an answer is discarded
	case k.err != nil:
		err = k.err
	default:
		body, t = k.body, k.tunnel
		err = outcome(k.out, body)
	}
	if err != nil {
		body, t = nil, nil
	}
	c.give(len(k.body))
	*k = call{waiter: k.waiter, next: c.free}
	c.free = k
	return body, t, err
}

func outcome(out messaging.Outcome, body []byte) error {
	switch out {
	case messaging.Replied:
		return nil
	case messaging.Faulted:
		return &RemoteError{string(body)}
	case messaging.TimedOut:
		return ErrTimeout
	case messaging.Unreached:
		return ErrNoMember
	case messaging.Lost:
		return ErrLost
	}
	return ErrBusy
}

// lifetime returns how many milliseconds a call may take.
func lifetime(ctx context.Context, timeout time.Duration) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if timeout < 0 {
		return 0, fmt.Errorf("timeout of %v is negative", timeout)
	}
	if at, ok := ctx.Deadline(); ok {
		timeout = min(timeout, max(0, time.Until(at)))
	}
	ms := uint64(timeout / time.Millisecond)
	if timeout%time.Millisecond > 0 {
		ms++
	}
	return ms, nil
}

func (c *Client) checkBody(n int) error {
	if most := c.node.config.MaxMessage; n > most {
		return fmt.Errorf("message of %d octets is too large: at most %d, or use a tunnel", n, most)
	}
	return nil
}

func checkCluster(name string) error {
	if name == "" {
		return errors.New("the name of the cluster is empty")
	}
	return checkName("cluster", name)
}

func checkName(what, name string) error {
	if most := relaywire.DefaultLimits.Name; len(name) > most {
		return fmt.Errorf("%s name of %d octets is too long: at most %d", what, len(name), most)
	}
	return nil
}
