package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	bodySize    = 128 // octets of a request, a reply, an event
	outstanding = 256
	patience    = 10 * time.Second // for what is under way to arrive
)

// The loads.
const (
	oneRequest = "request"    // one outstanding
	goroutines = "goroutines" // 256 outstanding, each with a goroutine that waits for its reply
	async      = "async"      // 256 outstanding, each reply sends the next request
	publish1   = "publish1"   // to one subscriber
	publish4   = "publish4"   // to four, each on a connection of its own
	tunnel     = "tunnel"     // large messages one way between two programs
)

// A requester sends a request to the echo service and waits for the reply.
type requester interface {
	Request(body []byte) (reply []byte, err error)
}

// A fabric is what a program can do with Iris and with NATS, in the natural way
// of each. Bodies belong to the caller again when a send returns; those handed
// to a function belong to it until that returns.
type fabric interface {
	requester

	// Pipeline returns what sends a request to the echo service and does not
	// wait. Each reply goes to done, which may send.
	Pipeline(done func(reply []byte, err error)) (send func(body []byte) error, err error)

	Publisher(topic string) (send func(event []byte) error)
	Subscribe(topic string, handle func(event []byte)) error

	// Tunnel returns what sends messages to the service, how many of them may
	// be on their way, and hands acks what the service sends back.
	Tunnel(acks func(ack []byte)) (send func(msg []byte) error, window int64, err error)
}

// A load uses a system for about d, and returns when all it sent has arrived.
type load func(d time.Duration) (tally, error)

// A tally is how much a load did: requests answered, events delivered to each
// subscriber, messages through a tunnel.
type tally struct {
	Ops       int64         `json:"ops"`
	Receivers int64         `json:"receivers,omitempty"` // of each event; 0: as for 1
	P50       time.Duration `json:"p50_ns,omitempty"`    // of one request at a time
	P99       time.Duration `json:"p99_ns,omitempty"`
}

// deliveries returns how many messages came to somebody.
func (t tally) deliveries() int64 { return t.Ops * max(t.Receivers, 1) }

// newLoad prepares the load of that name on the system that r is of.
func newLoad(name string, r requester) (load, error) {
	if name == oneRequest {
		return oneAtATime(r), nil
	}
	f, ok := r.(fabric)
	if !ok {
		return nil, errors.New("this system only carries requests")
	}
	switch name {
	case goroutines:
		return manyWaiting(f), nil
	case async:
		return newPipeline(f)
	case publish1:
		return newStream(f, 1)
	case publish4:
		return newStream(f, 4)
	case tunnel:
		return newTunnelStream(f)
	}
	return nil, fmt.Errorf("no load is called %q", name)
}

func checkReply(reply []byte, err error) error {
	if err == nil && len(reply) != bodySize {
		err = fmt.Errorf("the reply has %d octets, not the %d of the request", len(reply), bodySize)
	}
	return err
}

// oneAtATime takes the time of each request.
func oneAtATime(r requester) load {
	body := make([]byte, bodySize)
	return func(d time.Duration) (tally, error) {
		times := make([]time.Duration, 0, 1<<16)
		for began, at := time.Now(), time.Now(); at.Sub(began) < d; {
			if err := checkReply(r.Request(body)); err != nil {
				return tally{}, err
			}
			now := time.Now()
			times = append(times, now.Sub(at))
			at = now
		}
		slices.Sort(times)
		return tally{Ops: int64(len(times)), P50: quantile(times, 0.5), P99: quantile(times, 0.99)}, nil
	}
}

// manyWaiting has 256 goroutines request, which is how programs are written.
func manyWaiting(r requester) load {
	return func(d time.Duration) (tally, error) {
		var (
			all  sync.WaitGroup
			ops  [outstanding]int64
			errs [outstanding]error
		)
		end := time.Now().Add(d)
		for i := range outstanding {
			all.Go(func() {
				body := make([]byte, bodySize)
				n := int64(0)
				for time.Now().Before(end) {
					if errs[i] = checkReply(r.Request(body)); errs[i] != nil {
						return
					}
					n++
				}
				ops[i] = n
			})
		}
		all.Wait()
		t := tally{}
		for _, n := range ops {
			t.Ops += n
		}
		return t, errors.Join(errs[:]...)
	}
}

// A pipeline keeps 256 requests under way without a goroutine for each: a reply
// has the next request sent.
type pipeline struct {
	send    func(body []byte) error
	body    []byte
	stop    atomic.Bool
	pending atomic.Int64
	ops     atomic.Int64
	failed  atomic.Pointer[error]
	idle    chan struct{} // told when nothing is pending
}

func newPipeline(f fabric) (load, error) {
	p := &pipeline{body: make([]byte, bodySize), idle: make(chan struct{}, 1)}
	var err error
	p.send, err = f.Pipeline(func(reply []byte, err error) {
		p.ops.Add(1)
		p.next(checkReply(reply, err))
	})
	return p.run, err
}

func (p *pipeline) run(d time.Duration) (tally, error) {
	p.ops.Store(0)
	p.stop.Store(false)
	p.pending.Store(outstanding)
	timer := time.AfterFunc(d, func() { p.stop.Store(true) })
	defer timer.Stop()
	for range outstanding {
		p.next(nil)
	}
	select {
	case <-p.idle:
	case <-time.After(d + patience):
		return tally{}, fmt.Errorf("%d requests have no reply after %v", p.pending.Load(), patience)
	}
	if err := p.failed.Load(); err != nil {
		return tally{}, *err
	}
	return tally{Ops: p.ops.Load()}, nil
}

// next sends one of the pending requests, or ends it if it failed before or the
// time is over.
func (p *pipeline) next(err error) {
	if err == nil && !p.stop.Load() {
		if err = p.send(p.body); err == nil {
			return
		}
	}
	if err != nil {
		p.failed.CompareAndSwap(nil, &err)
	}
	if p.pending.Add(-1) == 0 {
		p.idle <- struct{}{}
	}
}
