package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

const (
	eventWindow  = 50_000   // events the publisher may be ahead of the slowest subscriber
	tunnelSize   = 64 << 10 // octets of a message through a tunnel
	tunnelWindow = 64       // such messages that may be on their way over NATS: 4 MiB
	tunnelAcks   = 16       // such messages for each acknowledgement: 1 MiB
	unlimited    = math.MaxInt64 / 2
)

// A stream sends numbered messages to some receivers as fast as it can, and no
// further ahead of the slowest than a window: a fabric that drops what piles up
// would else look fast for what it drops. A message is
//
//	number [8]byte  1, 2, 3 ...; 0 only asks whether the receiver is there
//	ask    byte     1 asks to be acknowledged at once
//	       ...      up to its size
type stream struct {
	send   func(msg []byte) error
	msg    []byte
	sent   int64
	ahead  int64 // how far sent may be ahead
	free   int64 // up to where it may go as far as is known
	window *window
}

// newStream publishes to n subscribers.
func newStream(f fabric, n int) (load, error) {
	s := &stream{
		send:   f.Publisher(eventsTopic(n)),
		msg:    make([]byte, bodySize),
		ahead:  eventWindow,
		window: newWindow(n),
	}
	if err := f.Subscribe(acksTopic(n), s.window.take); err != nil {
		return nil, err
	}
	return s.run, s.greet()
}

// The topics of events to n subscribers and of what they acknowledge.
func eventsTopic(n int) string { return fmt.Sprintf("events.%d", n) }
func acksTopic(n int) string   { return fmt.Sprintf("acks.%d", n) }

// newTunnelStream sends through a tunnel.
func newTunnelStream(f fabric) (load, error) {
	s := &stream{msg: make([]byte, tunnelSize), window: newWindow(1)}
	var err error
	if s.send, s.ahead, err = f.Tunnel(s.window.take); err != nil {
		return nil, err
	}
	return s.run, s.greet()
}

// greet waits until every receiver is there: neither system confirms that a
// subscription is in effect.
func (s *stream) greet() error {
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		s.number(0, false)
		if err = s.send(s.msg); err != nil {
			return err
		}
		if err = s.window.await(0, 20*time.Millisecond); err == nil {
			break
		}
	}
	return err
}

func (s *stream) number(n int64, ask bool) {
	binary.BigEndian.PutUint64(s.msg, uint64(n))
	s.msg[8] = 0
	if ask {
		s.msg[8] = 1
	}
}

func (s *stream) run(d time.Duration) (tally, error) {
	before := s.sent
	for end := time.Now().Add(d); s.sent%16 != 0 || time.Now().Before(end); {
		if err := s.next(false); err != nil {
			return tally{}, err
		}
	}
	if err := s.next(true); err != nil {
		return tally{}, err
	}
	if err := s.window.await(s.sent, patience); err != nil {
		return tally{}, err
	}
	return tally{Ops: s.sent - before, Receivers: int64(len(s.window.acked))}, nil
}

// next sends the next message when the window has room for it.
func (s *stream) next(ask bool) error {
	if s.sent >= s.free {
		if err := s.window.await(s.sent+1-s.ahead, patience); err != nil {
			return err
		}
		s.free = s.window.slowest() + s.ahead
	}
	s.sent++
	s.number(s.sent, ask)
	return s.send(s.msg)
}

// A window is what the receivers of a stream have acknowledged.
type window struct {
	mu    sync.Mutex
	acked []int64 // by receiver; -1: not heard of
	bad   bool    // a message was lost, or came twice or out of order

	moved chan struct{} // told after a change
}

func newWindow(receivers int) *window {
	return &window{acked: slices.Repeat([]int64{-1}, receivers), moved: make(chan struct{}, 1)}
}

// take takes an acknowledgement.
func (w *window) take(ack []byte) {
	w.mu.Lock()
	if len(ack) != ackSize || int(ack[0]) >= len(w.acked) {
		w.bad = true
	} else {
		w.acked[ack[0]] = int64(binary.BigEndian.Uint64(ack[1:]))
		w.bad = w.bad || ack[9] != 0
	}
	w.mu.Unlock()
	select {
	case w.moved <- struct{}{}:
	default:
	}
}

func (w *window) slowest() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Min(w.acked)
}

// await waits until every receiver has acknowledged that many messages.
func (w *window) await(messages int64, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		w.mu.Lock()
		bad, least := w.bad, slices.Min(w.acked)
		w.mu.Unlock()
		if bad {
			return fmt.Errorf("a message was lost, or came twice or out of order, after the slowest receiver had acknowledged %d", least)
		}
		if least >= messages {
			return nil
		}
		select {
		case <-w.moved:
		case <-timer.C:
			return fmt.Errorf("the slowest receiver has acknowledged %d messages of %d after %v", least, messages, limit)
		}
	}
}

// A receiver is one end of a stream.
type receiver struct {
	index byte
	every int64 // messages for each acknowledgement
	count int64 // messages so far
	bad   bool
}

const ackSize = 10

// take takes a message and returns the acknowledgement that is due, if any:
//
//	receiver byte
//	messages [8]byte  how many have come
//	bad      byte     1: not those that should have
func (r *receiver) take(msg []byte) []byte {
	var n int64
	var ask bool
	if len(msg) <= 8 {
		r.bad = true
	} else {
		n, ask = int64(binary.BigEndian.Uint64(msg)), msg[8] != 0
	}
	if n != 0 {
		r.count++
		r.bad = r.bad || n != r.count
	}
	if n != 0 && !ask && !r.bad && r.count%r.every != 0 {
		return nil
	}
	ack := binary.BigEndian.AppendUint64(append(make([]byte, 0, ackSize), r.index), uint64(r.count))
	if r.bad {
		return append(ack, 1)
	}
	return append(ack, 0)
}

// subscribe has n subscribers receive events, each over a connection of its
// own. All are in one process, for either system.
func subscribe(n int, connect func() (fabric, error)) error {
	for i := range n {
		f, err := connect()
		if err != nil {
			return err
		}
		r := &receiver{index: byte(i), every: eventWindow / 10}
		acknowledge := f.Publisher(acksTopic(n))
		err = f.Subscribe(eventsTopic(n), func(event []byte) {
			if ack := r.take(event); ack != nil {
				acknowledge(ack) // a lost one is missed by the publisher
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
