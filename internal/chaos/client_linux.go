package main

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris"
)

// The load of one client.
const (
	requestEvery   = 60 * time.Millisecond
	eventEvery     = 150 * time.Millisecond // to each topic
	broadcastEvery = 300 * time.Millisecond
	tunnelPieces   = 40
	tunnelPiece    = 8 << 10 // octets at most
	tunnelEvery    = 100 * time.Millisecond
	largeEvery     = 25 // messages; one is larger than a fragment
	largeSize      = 80 << 10
	hailTurn       = 8 * time.Second // of one client
	hailSize       = 40 << 10
)

// load uses the names of all hosts until the connection is lost.
func (s *attached) load() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	c, err := s.config.Connect(ctx)
	cancel()
	if err != nil {
		return err
	}
	defer c.Close()
	s.write(record{What: ready})
	var all sync.WaitGroup
	all.Go(func() { s.request(c) })
	for _, topic := range topics {
		all.Go(func() { s.publish(c, topic, eventEvery, c.Publish) })
	}
	all.Go(func() { s.publish(c, allMembers, broadcastEvery, c.Broadcast) })
	all.Go(func() { s.tunnel(c) })
	<-c.Done()
	all.Wait()
	return c.Err()
}

// each calls f every so often, with the number of the call, until the connection is
// lost.
func (s *attached) each(c *iris.Client, every time.Duration, f func(n int)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; ; {
		select {
		case <-c.Done():
			return
		case <-tick.C:
			if !s.resting() {
				f(n)
				n++
			}
		}
	}
}

// to returns the name that message n is for: that of each host in turn, and now and
// then that of all of them.
func (s *attached) to(n int) string {
	if n%3 == 0 {
		return allMembers
	}
	return placeOf(hostName((n - n/3) % s.hosts))
}

func (s *attached) request(c *iris.Client) {
	var open sync.WaitGroup
	s.each(c, requestEvery, func(n int) {
		id, to := fmt.Sprintf("%s/%d", s.session, n), s.to(n)
		body := fmt.Appendf(nil, "%s %s", id, to)
		if n%largeEvery == 0 {
			body = append(body, make([]byte, largeSize)...)
		}
		s.write(record{What: asked, ID: id, To: to})
		ctx, cancel := context.WithTimeout(context.Background(), requestTime)
		open.Add(1)
		var once atomic.Bool
		err := c.RequestAsync(ctx, to, body, func(reply []byte, err error) {
			s.write(record{What: answered, ID: id, To: to, Why: answerOf(err), From: string(reply)})
			if !once.Swap(true) {
				cancel()
				open.Done()
			}
		})
		if err != nil {
			s.write(record{What: answered, ID: id, To: to, Why: refused + ": " + answerOf(err)})
			cancel()
			open.Done()
		}
	})
	open.Wait()
}

func (s *attached) publish(c *iris.Client, to string, every time.Duration, send func(context.Context, string, []byte) error) {
	s.each(c, every, func(n int) {
		msg := fmt.Appendf(nil, "%s %d", s.session, n)
		switch {
		case n%largeEvery == 0:
			msg = append(msg, bytes.Repeat([]byte{' '}, largeSize)...)
		case to == hail && s.hails():
			msg = append(msg, bytes.Repeat([]byte{' '}, hailSize)...)
		}
		s.write(record{What: published, To: to, N: uint64(n)})
		send(context.Background(), to, msg) // if it does not go, nobody misses it before the session ends
	})
}

// hails tells whether it is this client's turn.
func (s *attached) hails() bool {
	return hostName(int(now()/int64(hailTurn))%s.hosts) == s.host()
}

// tunnel uses one tunnel after the other.
func (s *attached) tunnel(c *iris.Client) {
	s.each(c, time.Second, func(n int) {
		id, to := fmt.Sprintf("%s/tunnel%d", s.session, n), s.to(n)
		s.write(record{What: opening, ID: id, To: to, Side: opener})
		ctx, cancel := context.WithTimeout(context.Background(), requestTime)
		t, err := c.Tunnel(ctx, to)
		cancel()
		if err != nil {
			s.write(record{What: unopened, ID: id, Side: opener, Why: answerOf(err)})
			return
		}
		s.write(record{What: opened, ID: id, To: to, Side: opener})
		s.use(t, id)
	})
}

// use sends the flow of a tunnel, has it come back, and closes the tunnel.
func (s *attached) use(t *iris.Tunnel, id string) {
	end := record{What: ended, ID: id, Side: opener}
	back := make(chan error, 1)
	var want atomic.Uint64 // octets to come back in all, once that is known
	go func() {
		for want.Load() == 0 || end.In < want.Load() {
			msg, err := t.Recv(context.Background())
			if err != nil {
				back <- err
				return
			}
			end.In += uint64(len(msg))
			end.Sum = crc64.Update(end.Sum, sums, msg)
		}
		back <- nil
	}()
	put, err := s.pour(t, id, &want)
	shut := func() error {
		s.write(record{What: closing, ID: id, Side: opener, Out: put})
		return t.Close()
	}
	if err != nil {
		shut() // else what comes back may be waited for for ever
		<-back
	} else if err = <-back; err == nil {
		err = shut()
	} else {
		shut()
	}
	end.Out, end.Why = put, endClosed
	if err != nil {
		end.Why = endOf(err)
	}
	s.write(end)
}

// pour puts the flow of a tunnel into it, and returns how many octets of it. The
// total is in want before the last goes.
func (s *attached) pour(t *iris.Tunnel, id string, want *atomic.Uint64) (put uint64, err error) {
	ctx := context.Background()
	if err := t.Send(ctx, []byte(id)); err != nil {
		return 0, err
	}
	f := newFlow(id)
	for k := range tunnelPieces {
		piece := make([]byte, 1+rand.N(tunnelPiece))
		if k%largeEvery == largeEvery-1 {
			piece = make([]byte, largeSize)
		}
		f.next(piece)
		if k == tunnelPieces-1 {
			want.Store(put + uint64(len(piece)))
		}
		if err := t.Send(ctx, piece); err != nil {
			return put, err
		}
		put += uint64(len(piece))
		time.Sleep(tunnelEvery)
	}
	return put, nil
}
