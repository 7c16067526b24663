package node

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relay"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/tunnel"
)

const (
	inboxLimit = 64 << 20 // octets that may wait for a client, and one message
	itemCost   = 192      // octets an item is charged beside its body

	reasonSlow   = "its handlers are too slow: more than 64 MiB were waiting for it"
	reasonMemory = "the node's memory budget is used up"
	reasonGone   = "peer disconnected"
)

const errClosedClient = closedError("client is closed")

// An ending is why a client ended.
type ending struct {
	err    error          // of every call from then on
	count  *atomic.Uint64 // of such endings; nil: none
	reason string         // told to the peers of its tunnels
	final  bool           // the node ends too, and there are no others: nobody serves what waits
}

// inbox is what waits for the handlers of a client, and for its own two
// goroutines. Client.mu guards it.
type inbox struct {
	items   fifo[item]
	offers  fifo[offer]   // to be confirmed
	doomed  fifo[*Tunnel] // to be closed
	waiting int           // octets charged for items and answers
	taken   uint64        // positions given out
	busy    bool          // a handler is running
	open    map[uint64]*Tunnel

	serving, dispatching waiter

	roused *waiter // to be woken by the next Flush
	owed   bool    // a batch has that Flush
}

func (i *inbox) init() {
	i.open = make(map[uint64]*Tunnel)
	i.serving, i.dispatching = newWaiter(), newWaiter()
}

// An item is one call of a handler: of HandleRequest, HandleTunnel or HandleGap if
// that is set, of the subscription's function, else of HandleBroadcast.
type item struct {
	pos     uint64
	request *Request
	tunnel  *Tunnel
	gap     *Gap
	sub     *subscription
	body    []byte
	shared  bool // body is other clients' too
}

func (i *item) cost() int {
	n := itemCost + len(i.body)
	if i.request != nil {
		n += len(i.request.Body)
	}
	return n
}

// An offer is a tunnel build that was handed over.
type offer struct{ pos, id uint64 }

// A waiter is where one goroutine at a time sleeps until there may be what it
// waits for.
type waiter struct {
	wake   chan struct{}
	sleeps bool    // and nobody has roused it
	next   *waiter // on the list of those roused
}

func newWaiter() waiter { return waiter{wake: make(chan struct{}, 1)} }

// wait sleeps on w until it is roused or ctx is done. The caller holds c.mu,
// which is free meanwhile.
func (c *Client) wait(ctx context.Context, w *waiter) (err error) {
	w.sleeps = true
	c.mu.Unlock()
	select {
	case <-w.wake:
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.mu.Lock()
	if err != nil && !w.sleeps { // roused as well: its wake is on the way
		c.mu.Unlock()
		<-w.wake
		c.mu.Lock()
		err = nil
	}
	w.sleeps = false
	return err
}

// rouse has w woken, if somebody sleeps there, by the next Flush: the batch's or,
// without one, that which the caller owes. c.mu is held.
func (c *Client) rouse(b *queue.Batch, w *waiter) {
	if !w.sleeps {
		return
	}
	w.sleeps = false
	w.next, c.roused = c.roused, w
	if b != nil && !c.owed {
		c.owed = true
		b.Add(sink{c})
	}
}

// charge charges the client for n octets more, unless it has too much waiting.
// c.mu is held.
func (c *Client) charge(n int) error {
	switch {
	case c.ending != nil:
		return queue.ErrSealed
	case c.waiting > inboxLimit:
		return queue.ErrFull
	case !c.node.plane.Budget.Take(n, c.waiting):
		return queue.ErrMemory
	}
	c.waiting += n
	return nil
}

// admit is charge for what has nowhere else to go: it ends a client that has too
// much waiting. c.mu is held.
func (c *Client) admit(b *queue.Batch, n int) error {
	err := c.charge(n)
	switch err {
	case queue.ErrFull:
		c.drop(b, &c.node.relay.Ends.Slow, reasonSlow)
	case queue.ErrMemory:
		c.drop(b, &c.node.relay.Ends.Slow, reasonMemory)
	}
	return err
}

// give returns n octets. c.mu is held.
func (c *Client) give(n int) {
	c.waiting -= n
	c.node.plane.Budget.Give(n)
}

// put adds an item for the handlers. c.mu is held.
func (c *Client) put(b *queue.Batch, i item) error {
	if err := c.admit(b, i.cost()); err != nil {
		return err
	}
	c.push(b, i)
	return nil
}

// push adds an item that is charged, and returns its position. c.mu is held.
func (c *Client) push(b *queue.Batch, i item) (pos uint64) {
	i.pos = c.taken
	c.taken++
	c.items.push(i)
	c.rouse(b, &c.dispatching)
	return i.pos
}

// drop ends the client for what it did or failed to do. c.mu is held.
func (c *Client) drop(b *queue.Batch, count *atomic.Uint64, reason string) {
	if c.ending == nil {
		c.ending = &ending{err: closedError("client was dropped: " + reason), count: count, reason: reasonGone}
		c.rouse(b, &c.serving)
	}
}

// stop ends the client, if nothing has ended it before.
func (c *Client) stop(e *ending) {
	c.mu.Lock()
	if c.ending == nil {
		c.ending = e
		c.rouse(nil, &c.serving)
	}
	c.mu.Unlock()
	sink{c}.Flush(nil)
}

// serve does what the data plane asks of a program and no handler should hold
// up: it confirms tunnels, closes those that nobody wants, and ends the client.
func (c *Client) serve() {
	c.mu.Lock()
	for c.ending == nil {
		switch {
		case c.offers.len() > 0:
			o := c.offers.pop()
			c.mu.Unlock()
			c.confirm(o.id)
			c.mu.Lock()
		case c.doomed.len() > 0:
			t := c.doomed.pop()
			c.mu.Unlock()
			t.shut()
			c.mu.Lock()
		default:
			c.wait(context.Background(), &c.serving)
		}
	}
	c.mu.Unlock()
	c.detach()
}

// confirm accepts a tunnel and hands it to the handler.
func (c *Client) confirm(build uint64) {
	c.mu.Lock()
	c.ids++
	t := c.newTunnel(c.ids)
	c.mu.Unlock()
	c.tunnels.Building(t.id)
	c.reader.Lock()
	o, ok := c.conn.Confirm(build)
	c.reader.Unlock()
	b := batches.Get().(*queue.Batch)
	defer flush(b)
	switch {
	case ok && o.Peer != nil:
		ok = c.node.abroad(b, o, c.tunnels, t.id) == nil
	case ok && o.From != nil:
		tunnel.Open(time.Now(), b, c.node.plane.Timers, o.From.Sink().(relay.Tunneler).Tunnels(), o.Tunnel, c.tunnels, t.id)
	default: // the initiator no longer waits
		ok = false
	}
	if !ok {
		c.tunnels.Failed(t.id)
		c.forget(t)
		return
	}
	if t.end = c.tunnels.End(t.id); t.end == nil { // it is gone, and sent nothing
		c.forget(t)
		return
	}
	t.end.Allow(time.Now(), b, tunnelWindow)
	c.mu.Lock()
	c.put(b, item{tunnel: t})
	c.mu.Unlock()
}

// detach takes the client out of everything (docs/relay-v1.md, Graceful close).
func (c *Client) detach() {
	c.mu.Lock()
	e := c.ending
	for _, k := range c.calls {
		c.finish(nil, k)
	}
	for _, t := range c.open {
		t.fail(nil, e.err)
	}
	c.rouse(nil, &c.dispatching)
	busy := c.busy
	c.mu.Unlock()
	sink{c}.Flush(nil)
	if e.count != nil {
		e.count.Add(1)
		if e.err != errClosedClient {
			c.node.config.Log.Warn("in-process client dropped", "conn", c.conn.ID, "cluster", c.conn.Cluster, "error", e.err)
		}
	}

	why := "orderly"
	if e.err != errClosedClient {
		why = e.err.Error()
	}
	registry{c.node}.Detach(c.conn, why)
	b := batches.Get().(*queue.Batch)
	now := time.Now()
	c.reader.Lock()
	c.tunnels.Close(now, b, e.reason)
	c.conn.Close(now, b)
	c.reader.Unlock()
	flush(b)

	c.mu.Lock()
	for c.items.len() > 0 {
		i := c.items.pop()
		c.give(i.cost())
	}
	c.mu.Unlock()
	c.node.forget(c)
	if !busy {
		<-c.dispatched
	}
	close(c.done)
}

// dispatch calls the handlers.
func (c *Client) dispatch() {
	defer close(c.dispatched)
	for {
		i, event, ok := c.next()
		if !ok {
			return
		}
		c.conn.Relieved()
		if i.shared {
			i.body = bytes.Clone(i.body)
		}
		switch {
		case i.request != nil:
			if time.Now().Before(i.request.due) {
				c.handler.HandleRequest(i.request)
			} else {
				c.conn.Expired(i.request.id)
			}
		case i.tunnel != nil:
			c.handler.HandleTunnel(i.tunnel)
		case i.sub != nil && event == nil: // it has ended
		case i.gap != nil:
			c.handler.(GapHandler).HandleGap(*i.gap)
		case i.sub != nil:
			event(i.body)
		default:
			c.handler.HandleBroadcast(i.body)
		}
	}
}

// next waits for an item and takes it, with the function of its subscription if
// that has not ended. It reports false when the client has.
func (c *Client) next() (i item, event func([]byte), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	for c.ending == nil && c.items.len() == 0 {
		c.wait(context.Background(), &c.dispatching)
	}
	if c.ending != nil {
		return item{}, nil, false
	}
	c.busy = true
	i = c.items.pop()
	c.give(i.cost())
	if i.sub != nil {
		event = i.sub.handle
	}
	return i, event, true
}

// sink is a client as the data plane sees it.
type sink struct{ c *Client }

var (
	_ messaging.Sink = sink{}
	_ tunnel.Sink    = sink{}
	_ relay.Tunneler = sink{}
)

// Tunnels implements relay.Tunneler.
func (s sink) Tunnels() *tunnel.Table { return s.c.tunnels }

// Flush implements queue.Flusher: it wakes whom there is something for.
func (s sink) Flush(*queue.Batch) {
	c := s.c
	c.mu.Lock()
	w := c.roused
	c.roused, c.owed = nil, false
	c.mu.Unlock()
	for w != nil {
		next := w.next // another list's as soon as it wakes
		w.wake <- struct{}{}
		w = next
	}
}

// Request implements messaging.Sink.
func (s sink) Request(b *queue.Batch, id uint64, body []byte, timeout, left uint64) (uint64, error) {
	c := s.c
	given := time.Duration(min(timeout, relaywire.MaxTimeout)) * time.Millisecond
	due := time.Now().Add(time.Duration(left) * time.Millisecond)
	r := &Request{Body: bytes.Clone(body), Timeout: given, client: c, id: id, due: due}
	c.mu.Lock()
	defer c.mu.Unlock()
	i := item{request: r}
	if err := c.charge(i.cost()); err != nil {
		return 0, err
	}
	return c.push(b, i), nil
}

// Offer implements messaging.Sink.
func (s sink) Offer(b *queue.Batch, id uint64) (uint64, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != nil {
		return 0, queue.ErrSealed
	}
	o := offer{c.taken, id}
	c.taken++
	c.offers.push(o)
	c.rouse(b, &c.serving)
	return o.pos, nil
}

// Answer implements messaging.Sink.
func (s sink) Answer(b *queue.Batch, id uint64, out messaging.Outcome, body []byte) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.calls[id]
	if k == nil || c.admit(b, len(body)) != nil {
		return // nobody waits, or will be told that the client has ended
	}
	k.out, k.body = out, bytes.Clone(body)
	c.finish(b, k)
}

// Unbuilt implements messaging.Sink.
func (s sink) Unbuilt(b *queue.Batch, id uint64, out messaging.Outcome) {
	s.c.tunnels.Failed(id)
	s.Answer(b, id, out, nil)
}

// Broadcast implements messaging.Sink.
func (s sink) Broadcast(b *queue.Batch, p queue.Payload) error {
	return s.deliver(b, nil, p)
}

// Event implements messaging.Sink.
func (s sink) Event(b *queue.Batch, topic []byte, p queue.Payload) error {
	if sub := s.c.subscribed(topic); sub != nil {
		return s.deliver(b, sub, p)
	}
	return nil
}

// subscribed returns the subscription of a topic that has not ended; nil: there is
// none.
func (c *Client) subscribed(topic []byte) *subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sub := c.topics[string(topic)]; sub != nil && sub.handle != nil {
		return sub
	}
	return nil
}

func (s sink) deliver(b *queue.Batch, sub *subscription, p queue.Payload) error {
	c := s.c
	i := item{sub: sub, shared: p.Shared != nil}
	if i.shared {
		i.body = p.Shared.Bytes() // to be copied when no lock is held
	} else {
		i.body = bytes.Clone(p.Data)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put(b, i)
}

// Gap implements messaging.Sink.
func (s sink) Gap(b *queue.Batch, topic []byte, lost uint64) {
	c := s.c
	i := item{gap: &Gap{Topic: string(topic), Broadcast: topic == nil, Lost: lost}}
	if _, ok := c.handler.(GapHandler); !ok {
		return
	}
	if topic != nil {
		if i.sub = c.subscribed(topic); i.sub == nil {
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(b, i)
}

// Fail implements messaging.Sink.
func (s sink) Fail(reason string) {
	s.c.mu.Lock()
	s.c.drop(nil, &s.c.node.relay.Ends.Violations, reason)
	s.c.mu.Unlock()
	s.Flush(nil)
}

// Unstarted implements messaging.Sink: what no handler was called for, unless
// the node ends and there is no other.
func (s sink) Unstarted(pos uint64) (body []byte, ok bool) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ending.final && c.items.len() > 0 && c.items.first().pos <= pos {
		i := c.items.pop()
		c.give(i.cost())
		if i.pos == pos {
			return i.request.Body, true
		}
	}
	for !c.ending.final && c.offers.len() > 0 && c.offers.first().pos <= pos {
		if c.offers.pop().pos == pos {
			return nil, true
		}
	}
	return nil, false
}

// fifo is a first-in first-out list.
type fifo[T any] struct {
	list []T
	head int // of those that are left
}

func (f *fifo[T]) len() int { return len(f.list) - f.head }

func (f *fifo[T]) first() *T { return &f.list[f.head] }

func (f *fifo[T]) push(v T) {
	if len(f.list) == cap(f.list) && f.head > len(f.list)/2 {
		n := copy(f.list, f.list[f.head:])
		clear(f.list[n:])
		f.list, f.head = f.list[:n], 0
	}
	f.list = append(f.list, v)
}

func (f *fifo[T]) pop() T {
	const most = 1024 // elements that memory is kept for
	var none T
	v := f.list[f.head]
	f.list[f.head] = none
	f.head++
	if f.head == len(f.list) {
		if f.list, f.head = f.list[:0], 0; cap(f.list) > most {
			f.list = nil
		}
	}
	return v
}
