package iris

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/project-iris/iris/internal/relaywire"
)

// A Client is a program attached to its node. It is made by Connect or Register
// and ended by Close or Drain. Its methods may be called concurrently.
//
// When it has ended, whatever ended it, methods return ErrClosed or ErrLost, as
// Err does.
type Client struct {
	config     Config
	cluster    string
	handler    Handler // nil: no member
	requests   *pool
	broadcasts *pool
	gate       gate
	stats      stats
	topics     atomic.Pointer[map[string]*Subscription] // replaced, never changed

	current atomic.Pointer[conn] // nil: there is none at the moment
	done    chan struct{}
	err     error // once done is closed

	mu      sync.Mutex
	changed chan struct{}   // closed when current or closing changes
	closing bool            // by the program, or the client has ended
	last    error           // what ended the last connection, or the client
	close   context.Context // done when the program closes
	ending  context.CancelFunc
}

type stats struct {
	requests, broadcasts, events, tunnels counters
	reconnects                            atomic.Uint64
}

// Stats is what a client counts from its start. Figures only go up.
type Stats struct {
	Requests, Broadcasts, Events, Tunnels Counts // that came to handlers

	Reconnects uint64 // connections that took the place of a lost one
}

// Counts is what became of the messages of one kind.
type Counts struct {
	Handled uint64 // the handler returned
	Dropped uint64 // over a limit, or the client was closed before a handler was free
	Expired uint64 // requests whose time had passed before a handler was free
}

func newClient(config Config, cluster string, h Handler) *Client {
	c := &Client{config: config, cluster: cluster, handler: h, done: make(chan struct{}), changed: make(chan struct{})}
	c.gate.empty = make(chan struct{})
	c.topics.Store(new(map[string]*Subscription))
	c.close, c.ending = context.WithCancel(context.Background())
	c.requests = c.pool("requests", config.Requests, &c.stats.requests, c.runRequest)
	c.requests.requests = true
	c.broadcasts = c.pool("broadcasts", config.Broadcasts, &c.stats.broadcasts, func(j *job) bool {
		c.handler.HandleBroadcast(j.conn.ctx, j.body)
		c.stats.broadcasts.handled.Add(1)
		return false
	})
	return c
}

func (c *Client) pool(what string, l Limits, counts *counters, run func(*job) bool) *pool {
	return &pool{limits: l, gate: &c.gate, log: c.config.Log, what: what, run: run, counts: counts}
}

// start attaches the client, and keeps it attached.
func (c *Client) start(ctx context.Context) error {
	conn, err := c.attach(ctx)
	if err != nil {
		return err
	}
	c.current.Store(conn)
	go c.keep(conn)
	return nil
}

// keep is the client's goroutine: it reads from the node, and attaches again
// where the client is to reconnect.
func (c *Client) keep(conn *conn) {
	var pause time.Duration
	for {
		began := time.Now()
		conn.serve()
		if time.Since(began) >= pauseMost {
			pause = 0
		}
		err := conn.err
		if !c.config.Reconnect || c.close.Err() != nil {
			c.finish(err)
			return
		}
		c.config.Log.Warn("the connection to the node was lost: attaching again", "error", err)
		if conn = c.reattach(&pause); conn == nil {
			return
		}
	}
}

const (
	pauseFirst = 20 * time.Millisecond // before the second attempt to attach again
	pauseMost  = 5 * time.Second       // a connection that lasts as long was a good one
)

// reattach returns a new connection, or nil when the client has ended. It waits
// for pause before each attempt, and lets it grow.
func (c *Client) reattach(pause *time.Duration) *conn {
	for ; ; *pause = min(max(2**pause, pauseFirst), pauseMost) {
		if *pause > 0 {
			timer := time.NewTimer(*pause/2 + rand.N(*pause))
			select {
			case <-timer.C:
			case <-c.close.Done():
			}
			timer.Stop()
		}
		conn, err := c.attach(c.close)
		var denied *DeniedError
		switch {
		case err == nil && c.resume(conn):
			c.stats.reconnects.Add(1)
			*pause = min(max(2**pause, pauseFirst), pauseMost) // should it be lost soon
			c.config.Log.Info("attached to the node again")
			return conn
		case err == nil:
			conn.cancel()
			conn.nc.Close()
			c.finish(ErrClosed)
			return nil
		case c.close.Err() != nil:
			c.finish(ErrClosed)
			return nil
		case errors.As(err, &denied):
			c.finish(fmt.Errorf("%w: %w", ErrLost, err))
			return nil
		}
		c.config.Log.Debug("attaching again failed", "error", err)
	}
}

// resume makes conn the current connection, with all subscriptions. It reports
// false when the client is closing.
func (c *Client) resume(conn *conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	for _, s := range *c.topics.Load() {
		conn.out.force(&relaywire.Message{Op: relaywire.Subscribe, Name: []byte(s.topic)}, later)
	}
	conn.out.poke()
	c.current.Store(conn)
	c.change()
	return true
}

// detach takes a connection that has ended out of use.
func (c *Client) detach(conn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current.Store(nil)
	c.last = conn.err
	c.change()
}

func (c *Client) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// finish ends the client.
func (c *Client) finish(err error) {
	c.mu.Lock()
	c.closing, c.last = true, err
	c.change()
	c.mu.Unlock()
	c.ending()
	c.err = err
	close(c.done)
}

// use returns the current connection. While there is none it waits, until ctx is
// done, due has come or the client has ended.
func (c *Client) use(ctx context.Context, due time.Time) (*conn, error) {
	if conn := c.current.Load(); conn != nil {
		return conn, nil
	}
	ctx, done := until(ctx, due)
	defer done()
	for {
		c.mu.Lock()
		changed, conn := c.changed, c.current.Load()
		over := c.closing || !c.config.Reconnect
		c.mu.Unlock()
		switch {
		case conn != nil:
			return conn, nil
		case over:
			return nil, c.missing()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("attaching to the node again: %w", contextError(ctx))
		}
	}
}

// missing tells why there is no connection.
func (c *Client) missing() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// until returns ctx with due as a deadline, unless that is zero.
func until(ctx context.Context, due time.Time) (context.Context, context.CancelFunc) {
	if due.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, due)
}

// octets returns those of s, which must not be changed.
func octets(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// checkName refuses a name that a node would end the connection for.
func checkName(what, name string) error {
	if limit := relaywire.DefaultLimits.Name; len(name) > limit {
		return fmt.Errorf("%w: the name of a %s has %d octets at most, this one %d", ErrTooLarge, what, limit, len(name))
	}
	return nil
}

func (c *Client) check(what, name string, body []byte) error {
	if name == "" && what == "cluster" {
		return errors.New("no cluster: name one")
	}
	if err := checkName(what, name); err != nil {
		return err
	}
	if len(body) > c.config.MaxMessage {
		return fmt.Errorf("%w: a message has %d octets at most, this one %d: send it in parts, or through a tunnel", ErrTooLarge, c.config.MaxMessage, len(body))
	}
	return nil
}

// Broadcast sends msg to every member of cluster, the client itself too if it is
// one. That there is no member is no error. It returns when msg is on its way,
// and waits only while the node does not take what was sent before.
func (c *Client) Broadcast(ctx context.Context, cluster string, msg []byte) error {
	return c.send(ctx, "broadcast to", "cluster", cluster, &relaywire.Message{Op: relaywire.Broadcast, Body: msg})
}

// Publish sends event to every subscriber of topic, the client itself too if it
// is one. That there is no subscriber is no error. It returns when event is on its
// way, and waits only while the node does not take what was sent before.
func (c *Client) Publish(ctx context.Context, topic string, event []byte) error {
	return c.send(ctx, "publish to", "topic", topic, &relaywire.Message{Op: relaywire.Publish, Body: event})
}

func (c *Client) send(ctx context.Context, verb, what, name string, m *relaywire.Message) error {
	if err := c.check(what, name, m.Body); err != nil {
		return fmt.Errorf("iris: %s %.64q: %w", verb, name, err)
	}
	m.Name = octets(name)
	conn, err := c.use(ctx, time.Time{})
	switch {
	case err != nil:
	case ctx.Err() != nil:
		err = contextError(ctx)
	default:
		err = conn.out.add(ctx, time.Time{}, m, soon)
	}
	if err != nil {
		return fmt.Errorf("iris: %s %.64q: %w", verb, name, err)
	}
	return nil
}

// Flush waits until the node has taken everything that was sent before: it has
// handed on messages and events, and subscriptions are effective on this host.
func (c *Client) Flush(ctx context.Context) error {
	if err := c.barrier(ctx); err != nil {
		return fmt.Errorf("iris: flush: %w", err)
	}
	return nil
}

// barrier has the node answer a request that is for nobody and has no time. It
// does so at once, and after what came before.
func (c *Client) barrier(ctx context.Context) error {
	_, err := c.call(ctx, "", nil, time.Time{})
	if err == ErrTimeout && ctx.Err() == nil {
		return nil
	}
	return err
}

// Request sends a request to one member of cluster and returns its reply, or a
// *RemoteError if its handler failed. The request has time until the deadline of
// ctx, else the Timeout of the Config. After that the error is ErrTimeout: there
// may have been no member, or it took too long, or it is gone; it may have
// carried out the request or not.
func (c *Client) Request(ctx context.Context, cluster string, body []byte) ([]byte, error) {
	reply, err := c.request(ctx, cluster, body)
	if err != nil {
		return nil, fmt.Errorf("iris: request to %.64q: %w", cluster, err)
	}
	return reply, nil
}

func (c *Client) request(ctx context.Context, cluster string, body []byte) ([]byte, error) {
	if err := c.check("cluster", cluster, body); err != nil {
		return nil, err
	}
	due, err := c.due(ctx)
	if err != nil {
		return nil, err
	}
	return c.call(ctx, cluster, body, due)
}

// due returns when the time is over that ctx or the configuration leaves.
func (c *Client) due(ctx context.Context) (time.Time, error) {
	if ctx.Err() != nil {
		return time.Time{}, fmt.Errorf("%w: not sent, its context was done before", contextError(ctx))
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Now().Add(c.config.Timeout), nil
	}
	if time.Until(deadline) <= 0 {
		return time.Time{}, fmt.Errorf("%w: not sent, its context had expired before", ErrTimeout)
	}
	return deadline, nil
}

// milliseconds returns d as the protocol has it, rounded up.
func milliseconds(d time.Duration) uint64 {
	return uint64(min(max(d, 0), maxTimeout)+time.Millisecond-1) / uint64(time.Millisecond)
}

// call sends a request and waits for the answer. If due is zero the request has
// no time at the node, but may wait for being sent until ctx is done.
func (c *Client) call(ctx context.Context, cluster string, body []byte, due time.Time) ([]byte, error) {
	conn, err := c.use(ctx, due)
	if err != nil {
		return nil, err
	}
	a, others, err := conn.calls.begin(ctx, due, nil)
	if err != nil {
		return nil, err
	}
	turn := direct
	if others {
		turn = shared
	}
	m := relaywire.Message{Op: relaywire.Request, ID: a.id, Name: octets(cluster), Body: body, Timeout: milliseconds(time.Until(due))}
	if err := conn.out.add(ctx, due, &m, turn); err != nil {
		if !conn.calls.withdraw(a) {
			<-a.done
		}
		return nil, err
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		if conn.calls.giveUp(a) {
			return nil, contextError(ctx)
		}
		<-a.done
	}
	reply, err := a.reply, a.err
	conn.calls.release(a)
	return reply, err
}

// RequestAsync sends a request and returns. Then done is called, exactly once,
// with what Request would have returned. It is called by the goroutine that reads
// from the node, or where time or ctx end the request by another, so it must not
// block; it may call RequestAsync. The reply is valid until done returns.
//
// When RequestAsync returns an error the request was not sent and done is not
// called; the error is ErrBusy when 4,096 requests are pending.
func (c *Client) RequestAsync(ctx context.Context, cluster string, body []byte, done func(reply []byte, err error)) error {
	if err := c.requestAsync(ctx, cluster, body, done); err != nil {
		return fmt.Errorf("iris: request to %.64q: %w", cluster, err)
	}
	return nil
}

func (c *Client) requestAsync(ctx context.Context, cluster string, body []byte, done func(reply []byte, err error)) error {
	if err := c.check("cluster", cluster, body); err != nil {
		return err
	}
	due, err := c.due(ctx)
	if err != nil {
		return err
	}
	conn := c.current.Load()
	if conn == nil {
		return c.missing() // without waiting: this may be the goroutine that attaches again
	}
	a, _, err := conn.calls.begin(ctx, due, done)
	if err != nil {
		return err
	}
	if ctx.Done() != nil {
		conn.calls.heed(ctx, a)
	}
	m := relaywire.Message{Op: relaywire.Request, ID: a.id, Name: octets(cluster), Body: body, Timeout: milliseconds(time.Until(due))}
	if err := conn.out.add(ctx, due, &m, later); err != nil {
		if !conn.calls.withdraw(a) {
			return nil // done was called meanwhile, or is about to be
		}
		if a.stop != nil {
			a.stop()
		}
		return err
	}
	conn.sent()
	return nil
}

// runRequest answers one request.
func (c *Client) runRequest(j *job) (answered bool) {
	if j.conn.ctx.Err() != nil {
		c.stats.requests.dropped.Add(1) // nobody would get the answer
		return false
	}
	expiry := j.batch.arrived.Add(j.timeout)
	if !time.Now().Before(expiry) {
		c.stats.requests.expired.Add(1)
		return false
	}
	ctx := &j.batch.contexts[j.at]
	ctx.Context, ctx.deadline = j.conn.ctx, expiry
	reply, err := c.handler.HandleRequest(ctx, j.body)
	ctx.over()
	if err != nil && !time.Now().Before(expiry) {
		c.stats.requests.handled.Add(1)
		return false // the requester is told of the timeout, not of a handler that gave up for it
	}
	if err == nil && len(reply) > c.config.MaxMessage {
		err = fmt.Errorf("the reply has %d octets and may have %d", len(reply), c.config.MaxMessage)
		c.config.Log.Error("a reply is too large: the requester gets a fault", "error", err)
	}
	m := relaywire.Message{Op: relaywire.Reply, ID: j.id, Body: reply}
	if err != nil {
		text := err.Error()
		m.Fault, m.Body = true, []byte(text[:min(len(text), relaywire.DefaultLimits.Name)])
	}
	c.stats.requests.handled.Add(1)
	return j.conn.out.add(j.conn.ctx, time.Time{}, &m, later) == nil
}

// Close detaches the client. What was sent before is delivered; calls under way
// fail with ErrClosed, tunnels are closed, and requests that the client has not
// answered are lost. When Close returns without an error no trace of the client is
// left on the node. Handlers that run go on, and may call Close; no further one is
// started. Functions given to RequestAsync must not call it. Close returns an
// error if the node does not confirm within 5 s; a client that had ended already
// is no error.
func (c *Client) Close() error {
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	c.mu.Unlock()
	c.gate.close()
	c.stopPools()
	if first {
		c.end()
	}
	<-c.done
	if errors.Is(c.err, errSilent) {
		return fmt.Errorf("iris: close: %w", c.err)
	}
	return nil
}

var errSilent = errors.New("the node did not confirm the end of the connection: it may be stuck, see \"iris status\"")

// end says farewell to the node.
func (c *Client) end() {
	c.ending()
	conn := c.current.Load()
	if conn == nil {
		return // it has ended, or the attempt to attach again does now
	}
	conn.closing.Store(true)
	conn.out.force(&relaywire.Message{Op: relaywire.Close}, direct)
	timer := time.AfterFunc(attachLimit, func() { conn.nc.SetDeadline(time.Unix(1, 0)) })
	<-conn.ended
	timer.Stop()
}

func (c *Client) stopPools() {
	c.requests.stop()
	c.broadcasts.stop()
	for _, s := range *c.topics.Load() {
		s.pool.stop()
	}
}

// Drain ends the client without losing what it has begun: it starts no further
// handler, waits for those that run, until ctx is done, and closes the client
// when their replies are sent. Requests that wait for a handler, or still come,
// are dropped: their requesters get a timeout. The error is that of ctx if
// handlers were still running when it was done, else that of Close.
func (c *Client) Drain(ctx context.Context) error {
	c.gate.close()
	c.stopPools()
	var err error
	select {
	case <-c.gate.empty:
	case <-ctx.Done():
		err = fmt.Errorf("iris: drain: %w: handlers were still running", contextError(ctx))
	}
	return errors.Join(err, c.Close())
}

// Done is closed when the client has ended: by Close, by Drain, or because the
// connection was lost and the client is not to reconnect.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err tells what ended the client: ErrClosed, or ErrLost with the reason. It is
// nil until then.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Stats returns what the client has counted.
func (c *Client) Stats() Stats {
	s := &c.stats
	return Stats{
		Requests:   s.requests.read(),
		Broadcasts: s.broadcasts.read(),
		Events:     s.events.read(),
		Tunnels:    s.tunnels.read(),
		Reconnects: s.reconnects.Load(),
	}
}

// A Subscription is a client's to one topic. Its methods may be called
// concurrently.
type Subscription struct {
	client *Client
	topic  string
	pool   *pool
	lost   atomic.Uint64
}

// Subscribe has handle called for every event of topic, within the limits of the
// Config. When it returns the subscription is effective on this host: no event
// that a program of this host publishes from then on is missed. A topic has one
// subscription at a time in a client, else the error is ErrSubscribed.
func (c *Client) Subscribe(ctx context.Context, topic string, handle func(ctx context.Context, event []byte)) (*Subscription, error) {
	return c.SubscribeWith(ctx, topic, c.config.Events, handle)
}

// SubscribeWith is Subscribe with limits for this topic alone.
func (c *Client) SubscribeWith(ctx context.Context, topic string, l Limits, handle func(ctx context.Context, event []byte)) (*Subscription, error) {
	s, err := c.subscribe(ctx, topic, l, handle)
	if err != nil {
		return nil, fmt.Errorf("iris: subscribe to %.64q: %w", topic, err)
	}
	return s, nil
}

func (c *Client) subscribe(ctx context.Context, topic string, l Limits, handle func(ctx context.Context, event []byte)) (*Subscription, error) {
	if err := checkName("topic", topic); err != nil {
		return nil, err
	}
	if l.Threads < 0 || l.Memory < 0 || handle == nil {
		return nil, errors.New("limits below 0, or no function to take events")
	}
	s := &Subscription{client: c, topic: topic}
	s.pool = c.pool("events of "+topic, l.or(1), &c.stats.events, func(j *job) bool {
		handle(j.conn.ctx, j.body)
		c.stats.events.handled.Add(1)
		return false
	})
	s.pool.lost = &s.lost
	for {
		conn, err := c.use(ctx, time.Time{})
		if err != nil {
			return nil, err
		}
		added, err := c.enter(conn, s)
		if err != nil {
			return nil, err
		}
		if added {
			break
		}
	}
	if err := c.barrier(ctx); err != nil {
		// On a lost connection: a client that reconnects subscribes again then.
		if !errors.Is(err, ErrLost) || !c.config.Reconnect {
			s.leave()
			return nil, err
		}
	}
	return s, nil
}

// enter makes s known here and at the node. It reports false when conn is no
// longer the current connection.
func (c *Client) enter(conn *conn, s *Subscription) (added bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	topics := *c.topics.Load()
	switch {
	case c.closing:
		return false, ErrClosed
	case topics[s.topic] != nil:
		return false, ErrSubscribed
	case c.current.Load() != conn:
		return false, nil
	}
	topics = maps.Clone(topics)
	if topics == nil {
		topics = make(map[string]*Subscription)
	}
	topics[s.topic] = s
	c.topics.Store(&topics) // first: events may follow at once
	conn.out.force(&relaywire.Message{Op: relaywire.Subscribe, Name: []byte(s.topic)}, later)
	return true, nil // where that fails the barrier does, too
}

// leave takes s out again.
func (s *Subscription) leave() {
	s.pool.stop()
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	topics := *c.topics.Load()
	if topics[s.topic] != s {
		return
	}
	topics = maps.Clone(topics)
	delete(topics, s.topic)
	c.topics.Store(&topics)
	if conn := c.current.Load(); conn != nil {
		conn.out.force(&relaywire.Message{Op: relaywire.Unsubscribe, Name: []byte(s.topic)}, soon)
	}
}

// Unsubscribe ends the subscription. No further event is handled; what waited is
// dropped and counted. A handler that runs goes on, and may call Unsubscribe. When
// it returns the node sends the client no more events of the topic.
func (s *Subscription) Unsubscribe(ctx context.Context) error {
	s.leave()
	err := s.client.barrier(ctx)
	if err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrLost) {
		return fmt.Errorf("iris: unsubscribe from %.64q: %w", s.topic, err)
	}
	return nil
}

// Dropped returns how many events no handler saw, since more waited than the
// limits allow or the subscription ended before.
func (s *Subscription) Dropped() uint64 { return s.lost.Load() }
