package conform

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

// echoTunnel sends back what comes out of a tunnel until that is closed.
func (s *scene) echoTunnel(sending time.Duration) func(t Tunnel) {
	return func(t Tunnel) {
		for {
			body, err := t.Receive(0)
			if err == nil {
				err = t.Send(body, s.within(sending))
			}
			if err == nil {
				continue
			}
			if err != ErrClosed {
				s.errorf("echo service: %v", err)
			}
			if err := t.Close(); err != nil {
				s.errorf("echo service: %v", err)
			}
			return
		}
	}
}

// expectBack sends body through t and wants it back.
func (s *scene) expectBack(t Tunnel, body []byte, limit time.Duration) error {
	if err := t.Send(body, s.within(limit)); err != nil {
		return fmt.Errorf("send of %d octets: %w", len(body), err)
	}
	got, err := t.Receive(s.within(limit))
	if err != nil {
		return fmt.Errorf("receive of %d octets: %w", len(body), err)
	}
	if !bytes.Equal(got, body) {
		return fmt.Errorf("%d octets came back, %.60q; wanted %d, %.60q", len(got), got, len(body), body)
	}
	return nil
}

// tunnels: as soon as all are there, every client and every service builds
// tunnels into the cluster, sends messages and gets them back.
func tunnels(clients, services, each, messages int, building, passing time.Duration) func(*scene) {
	return func(s *scene) {
		programs := make([]Program, services+clients)
		s.all(len(programs), func(i int) (err error) {
			var svc *Service
			if i < services {
				svc = &Service{Tunnel: s.echoTunnel(passing)}
			}
			programs[i], err = s.attach(svc)
			return err
		})
		s.phase("attaching")
		s.all(len(programs)*each, func(i int) error {
			t, err := programs[i/each].Open(s.lib.cluster, s.within(building))
			if err != nil {
				return err
			}
			for j := range messages {
				if err := s.expectBack(t, []byte(s.text(i, j)), passing); err != nil {
					return err
				}
			}
			return t.Close()
		})
		s.phase("tunnelling")
	}
}

// tunnelsTimeOut: a tunnel into a cluster without members is not built.
func tunnelsTimeOut(timeout time.Duration) func(*scene) {
	return func(s *scene) {
		p := s.join(nil)
		start := time.Now()
		if _, err := p.Open(s.lib.cluster, timeout); err != ErrTimeout {
			s.t.Fatalf("tunnel to nobody ended with %v, wanted: %v", err, ErrTimeout)
		}
		if took := time.Since(start); took > timeout+s.node.slack(prompt) {
			s.t.Fatalf("tunnel of %v timed out after %v", timeout, took)
		}
		s.phase("building")
	}
}

// tunnelsChunk: a service sends itself one large message and gets it back.
func tunnelsChunk(size int, limit time.Duration) func(*scene) {
	return func(s *scene) {
		p := s.join(&Service{Tunnel: s.echoTunnel(limit)})
		t, err := p.Open(s.lib.cluster, s.within(time.Second))
		s.must(err)
		body := make([]byte, size)
		for i := 0; i < size; i += 8 {
			binary.LittleEndian.PutUint64(body[i:], uint64(i))
		}
		s.must(s.expectBack(t, body, limit))
		s.must(t.Close())
		s.phase("tunnelling")
	}
}

// zeros is what large messages consist of that nobody is to read. It takes no
// memory as long as nobody writes to it.
var zeros [64 << 20]byte

// tunnelsOverload: ten large messages to itself cannot be sent in the time they
// have, and are abandoned; ten small ones then pass both ways.
func tunnelsOverload(size int, limit time.Duration) func(*scene) {
	return func(s *scene) {
		p := s.join(&Service{Tunnel: s.echoTunnel(time.Second), Discard: 1 << 10})
		t, err := p.Open(s.lib.cluster, s.within(time.Second))
		s.must(err)
		if !s.node.virtual {
			limit = min(limit, 10*ms) // more may do for a fast machine
		}
		for range 10 {
			if err := t.Send(zeros[:size], limit); err != ErrTimeout {
				s.t.Fatalf("send of %d octets in %v ended with %v, wanted: %v", size, limit, err, ErrTimeout)
			}
		}
		for j := range 10 {
			s.must(s.expectBack(t, fmt.Appendf(nil, "small %2d", j), time.Second))
		}
		s.must(t.Close())
		s.phase("tunnelling")
	}
}

// tunnelEchoes: messages go through a tunnel and back, one after the other.
func tunnelEchoes(messages int) func(*scene) {
	return func(s *scene) {
		messages := s.many(messages)
		p := s.join(&Service{Tunnel: s.echoTunnel(time.Second)})
		t, err := p.Open(s.lib.cluster, s.within(time.Second))
		s.must(err)
		for j := range messages {
			s.must(s.expectBack(t, []byte(s.text(0, j)), time.Second))
		}
		s.must(t.Close())
	}
}

// tunnelFlood: messages go through a tunnel as fast as they will. The sender
// closes it at once, the reader gets them all.
func tunnelFlood(messages int) func(*scene) {
	return func(s *scene) {
		messages := s.many(messages)
		read := make(chan error, 1)
		p := s.join(&Service{Tunnel: func(t Tunnel) {
			for j := range messages {
				got, err := t.Receive(s.within(time.Second))
				if err == nil && string(got) != s.text(0, j) {
					err = fmt.Errorf("came %q, wanted %q", got, s.text(0, j))
				}
				if err != nil {
					once(s, read, err)
					return
				}
			}
			once(s, read, t.Close())
		}})
		t, err := p.Open(s.lib.cluster, s.within(time.Second))
		s.must(err)
		for j := range messages {
			s.must(t.Send([]byte(s.text(0, j)), s.within(time.Second)))
		}
		s.must(t.Close())
		s.must(await(s, p, read))
	}
}

// await takes from c what a handler of p puts there.
func await[T any](s *scene, p Program, c <-chan T) (v T) {
	s.t.Helper()
	select {
	case v = <-c:
	case <-p.Done():
		s.t.Fatalf("service ended: %v", p.Err())
	}
	return v
}

// What is interrupted in a tunnel, and at which end, seen from the initiator.
type (
	act  int
	side int
)

const (
	receiving act = iota
	sending
)

const (
	locally side = iota
	remotely
)

// interrupts: the initiator of a tunnel is stuck in an operation, since the
// acceptor neither sends nor receives, when one end closes. It is released at
// once, and both ends can close at once.
func interrupts(what act, where side) func(*scene) {
	return func(s *scene) {
		accepted := make(chan Tunnel, 1)
		p := s.join(&Service{Tunnel: func(t Tunnel) { once(s, accepted, t) }, Discard: 1})
		initiator, err := p.Open(s.lib.cluster, s.within(time.Second))
		s.must(err)
		acceptor := await(s, p, accepted)
		if what == sending {
			s.fill(initiator)
		}
		stuck := make(chan error, 1)
		s.work.Go(func() {
			if what == sending {
				stuck <- initiator.Send(zeros[:1<<20], 0)
				return
			}
			_, err := initiator.Receive(0)
			stuck <- err
		})
		time.Sleep(250 * ms)
		first, second := initiator, acceptor
		if where == remotely {
			first, second = second, first
		}
		s.began = time.Now() // the blocked send before is no part of a phase
		s.promptly("close by the first end", func() error {
			if err := first.Close(); err != nil {
				return err
			}
			if err := <-stuck; err != ErrClosed {
				return fmt.Errorf("interrupted operation ended with %v, wanted: %v", err, ErrClosed)
			}
			return nil
		})
		s.promptly("close by the second end", second.Close)
		s.phase("closing")
	}
}

// fill sends on t, whose other end does not receive, until a message has been
// blocked for a second.
func (s *scene) fill(t Tunnel) {
	const most = 128 // MiB: what the acceptor allows, and as much again
	start := time.Now()
	for sent := 0; ; sent++ {
		err := t.Send(zeros[:1<<20], time.Second)
		if err == ErrTimeout {
			break
		}
		s.must(err)
		if sent == most {
			s.t.Fatalf("%d MiB went to a program that receives none", most)
		}
	}
	if took := time.Since(start); took > s.within(10*time.Second) {
		s.t.Fatalf("sending blocked after %v, wanted %v", took, s.within(10*time.Second))
	}
}

// promptly fails the case if do fails or takes longer than 250 ms.
func (s *scene) promptly(what string, do func() error) {
	s.t.Helper()
	start := time.Now()
	s.must(do())
	if took := time.Since(start); took > s.within(250*ms) {
		s.t.Fatalf("%s took %v", what, took)
	}
}
