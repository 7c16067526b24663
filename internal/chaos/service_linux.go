package main

import (
	"context"
	"hash/crc64"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris"
)

// topics are what events are published to. There is so much of hail at times that
// more is missed by who is away than is kept for it.
var topics = []string{"sun", "rain", hail}

const hail = "hail"

// placeOf is the cluster of the service of one host.
func placeOf(host string) string { return "at " + host }

// serve is a member of allMembers and of the place of its host, and subscribes to
// the topics, until the connection is lost.
func (s *attached) serve() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	h := &handler{s: s}
	h.broadcast = h.listener(allMembers)
	all, err := s.config.Register(ctx, allMembers, h)
	if err != nil {
		return err
	}
	defer all.Close()
	place, err := s.config.Register(ctx, placeOf(s.host()), h)
	if err != nil {
		return err
	}
	defer place.Close()
	for _, topic := range topics {
		listen := h.listener(topic)
		if _, err := all.Subscribe(ctx, topic, func(_ context.Context, event []byte) { listen(event) }); err != nil {
			return err
		}
	}
	s.write(record{What: ready})
	select {
	case <-all.Done():
		return all.Err()
	case <-place.Done():
		return place.Err()
	}
}

// A handler writes down what comes, and answers then.
type handler struct {
	s         *attached
	broadcast func([]byte)
	executed  atomic.Uint64
}

// plantEvery is how many things go right before one that is planted.
const plantEvery = 40

func (h *handler) HandleRequest(_ context.Context, body []byte) ([]byte, error) {
	id, to, _ := strings.Cut(string(body), " ")
	h.s.write(record{What: executed, ID: id, To: to})
	if h.executed.Add(1)%plantEvery == 0 && h.s.plant == plantTwice {
		h.s.write(record{What: executed, ID: id, To: to})
	}
	time.Sleep(rand.N(20 * time.Millisecond)) // so that there always is something under way
	return []byte(h.s.session), nil
}

func (h *handler) HandleBroadcast(_ context.Context, msg []byte) { h.broadcast(msg) }

// listener returns what writes down the messages that come to a name, one at a time.
func (h *handler) listener(name string) func(msg []byte) {
	var count int
	var kept *record
	return func(msg []byte) {
		from, n, _ := strings.Cut(string(msg), " ")
		number, _ := strconv.ParseUint(strings.TrimRight(n, " "), 10, 64)
		r := record{What: heard, From: from, To: name, N: number}
		count++
		switch {
		case kept != nil && kept.From == from:
			h.s.write(r)
			h.s.write(*kept)
			kept = nil
		case count%plantEvery == 0 && h.s.plant == plantSwap && kept == nil:
			kept = &r
		case count%plantEvery == 0 && h.s.plant == plantDeaf:
		default:
			h.s.write(r)
		}
	}
}

// HandleTunnel sends back what comes. The first message names the tunnel.
func (h *handler) HandleTunnel(ctx context.Context, t *iris.Tunnel) {
	name, err := t.Recv(ctx)
	if err != nil {
		return // nobody can tell which one it was
	}
	end := record{What: ended, ID: string(name), Side: acceptor}
	h.s.write(record{What: opened, ID: end.ID, Side: acceptor})
	for {
		msg, err := t.Recv(ctx)
		if err == nil {
			h.count(msg, &end)
			if err = t.Send(ctx, msg); err == nil {
				end.Out += uint64(len(msg))
				continue
			}
			err = h.drain(ctx, t, &end)
		}
		end.Why = endOf(err)
		h.s.write(end)
		return
	}
}

// drain takes what came before the other side closed, when nothing can be sent
// back any more, and returns how the tunnel ended.
func (h *handler) drain(ctx context.Context, t *iris.Tunnel, end *record) error {
	for {
		msg, err := t.Recv(ctx)
		if err != nil {
			return err
		}
		h.count(msg, end)
	}
}

// count adds what came out of a tunnel.
func (h *handler) count(msg []byte, end *record) {
	if h.s.plant == plantCorrupt && end.In > 0 {
		msg[len(msg)/2] ^= 1
	}
	end.In += uint64(len(msg))
	end.Sum = crc64.Update(end.Sum, sums, msg)
}
