package conform

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// connects: n clients attach at once, and close at once.
func connects(n int) func(*scene) {
	return func(s *scene) {
		s.all(n, func(int) error {
			_, err := s.attach(nil)
			return err
		})
		s.phase("attaching")
	}
}

// registers: n services of one cluster attach at once, and close at once. They
// get nothing.
func registers(n int) func(*scene) {
	return func(s *scene) {
		s.all(n, func(int) error {
			_, err := s.attach(&Service{})
			return err
		})
		s.phase("attaching")
	}
}

// broadcasts: as soon as all are there, every client and every service
// broadcasts. Every service gets all of it, its own too, exactly once. Clients
// close when they have sent, services of V0 when they have it all.
func broadcasts(clients, services, messages int) func(*scene) {
	return func(s *scene) {
		programs := make([]Program, services+clients)
		tallies := make([]*tally, services)
		s.all(len(programs), func(i int) (err error) {
			var svc *Service
			if i < services {
				tallies[i] = s.tally()
				svc = &Service{Broadcast: tallies[i].add}
			}
			programs[i], err = s.attach(svc)
			return err
		})
		s.phase("attaching")
		s.all(len(programs), func(i int) error {
			for j := range messages {
				if err := programs[i].Broadcast(s.lib.cluster, s.text(i, j)); err != nil {
					return err
				}
			}
			if i < services {
				if err := tallies[i].wait(len(programs) * messages); err != nil || s.lib.dialect != relaywire.V0 {
					return err
				}
			}
			return programs[i].Close()
		})
		s.phase("broadcasting")
	}
}

// publishes: clients and services subscribe to some topics and, when that has
// settled, publish events in each. Every one gets all of them, its own too, exactly once.
func publishes(clients, services, topics, events int, settling time.Duration) func(*scene) {
	return func(s *scene) {
		programs := make([]Program, services+clients)
		tallies := make([][]*tally, len(programs))
		topic := func(k int) string { return fmt.Sprintf("%s-%d", s.lib.topic, k) }
		s.all(len(programs), func(i int) (err error) {
			var svc *Service
			if i < services {
				svc = &Service{}
			}
			if programs[i], err = s.attach(svc); err != nil {
				return err
			}
			for k := range topics {
				y := s.tally()
				tallies[i] = append(tallies[i], y)
				if err := programs[i].Subscribe(topic(k), Limit{}, y.add); err != nil {
					return err
				}
			}
			s.settle(settling)
			return nil
		})
		s.phase("subscribing")
		s.all(len(programs), func(i int) error {
			for j := range events {
				for k := range topics {
					// The topic's number tells events of different topics apart.
					if err := programs[i].Publish(topic(k), s.text(i, j*topics+k)); err != nil {
						return err
					}
				}
			}
			for k, y := range tallies[i] {
				if err := y.wait(len(programs) * events); err != nil {
					return fmt.Errorf("%s: %w", topic(k), err)
				}
			}
			return nil
		})
		s.phase("publishing")
		s.all(len(programs), func(i int) error {
			for k := range topics {
				if err := programs[i].Unsubscribe(topic(k)); err != nil {
					return err
				}
			}
			return nil
		})
		s.phase("unsubscribing")
	}
}

// A way is how a program sends something to itself.
type way int

const (
	overCluster way = iota // broadcast by its only service
	overTopic              // published by a client-only program that subscribed
)

// loop attaches a program that hears what it sends.
func (s *scene) loop(w way, l Limit, hear func(body string)) (p Program, send func(body string) error) {
	if w == overCluster {
		p = s.join(&Service{Broadcasts: l, Broadcast: hear})
		return p, func(body string) error { return p.Broadcast(s.lib.cluster, body) }
	}
	p = s.join(nil)
	s.must(p.Subscribe(s.lib.topic, l, hear))
	return p, func(body string) error { return p.Publish(s.lib.topic, body) }
}

// limitsThreads: of four messages at once, one is handled at a time, so that
// two are done after two and a half times as long as one takes, and no more.
func limitsThreads(took time.Duration, w way) func(*scene) {
	return func(s *scene) {
		var running atomic.Int32
		done := make(chan string, 4)
		_, send := s.loop(w, Limit{Threads: 1}, func(body string) {
			s.alone(&running, took)
			once(s, done, body)
		})
		s.all(4, func(i int) error { return send(s.text(i, 0)) })
		s.takes(done, 2, time.Now(), took*5/2)
		s.phase("handling")
	}
}

// alone is what a handler does, for a time, that has to be the only one: then the
// third of several cannot be done before three times as long. It fails the case if
// another runs.
func (s *scene) alone(running *atomic.Int32, took time.Duration) {
	if n := running.Add(1); n > 1 {
		s.errorf("%d handlers run at once, wanted one", n)
	}
	time.Sleep(took)
	running.Add(-1)
}

// takes takes n values from c and ends the case if they have not come within
// limit of start.
func (s *scene) takes(c <-chan string, n int, start time.Time, limit time.Duration) {
	s.t.Helper()
	late := time.After(time.Until(start.Add(s.within(limit))))
	for i := range n {
		select {
		case <-c:
		case <-late:
			s.t.Fatalf("%d came within %v, wanted %d", i, s.within(limit), n)
		}
	}
}

// limitsMemory: with room for one octet in its queue, a program gets messages of
// 1 and 1 octet, each in time, but not one of 2 that is sent between them. Since
// messages keep their order, it has come when the last one has.
func limitsMemory(most time.Duration, w way) func(*scene) {
	return func(s *scene) {
		handled := make(chan string, 1)
		p, send := s.loop(w, Limit{Memory: 1}, func(body string) { once(s, handled, body) })
		for _, bodies := range [][]string{{"1"}, {"22", "3"}} {
			for _, body := range bodies {
				s.must(send(body))
			}
			want := bodies[len(bodies)-1]
			select {
			case got := <-handled:
				if got != want {
					s.t.Fatalf("got %q, wanted %q", got, want)
				}
			case <-time.After(s.within(most)):
				s.t.Fatalf("%q did not come within %v", want, s.within(most))
			}
		}
		if n := p.Dropped(); n != 1 {
			s.t.Fatalf("%d messages were dropped, wanted one", n)
		}
		s.phase("sending")
	}
}

// echoes: a program sends itself messages, each when the one before has come.
func echoes(messages int, w way) func(*scene) {
	return func(s *scene) {
		messages := s.many(messages)
		arrived := make(chan string, 1)
		_, send := s.loop(w, Limit{}, func(body string) { once(s, arrived, body) })
		late := time.NewTimer(0)
		defer late.Stop()
		for j := range messages {
			s.must(send(s.text(0, j)))
			late.Reset(s.within(100 * ms))
			select {
			case got := <-arrived:
				if want := s.text(0, j); got != want {
					s.t.Fatalf("got %q, wanted %q", got, want)
				}
			case <-late.C:
				s.t.Fatalf("message %d did not come within %v", j, s.within(100*ms))
			}
		}
	}
}

// flood: several threads of a program send itself messages.
func flood(messages, threads int, w way) func(*scene) {
	return func(s *scene) {
		messages := s.many(messages)
		y := s.tally()
		_, send := s.loop(w, Limit{}, y.add)
		s.all(threads, func(i int) error {
			for j := i; j < messages; j += threads {
				if err := send(s.text(i, j)); err != nil {
					return err
				}
			}
			return nil
		})
		s.must(y.wait(messages))
	}
}

// answering makes a request handler of do, which answers every other call from
// another goroutine if the library does so.
func (s *scene) answering(do func(r *Call)) func(r *Call) {
	var calls atomic.Int32
	return func(r *Call) {
		if calls.Add(1)%2 == 0 && s.lib.deferred {
			s.work.Go(func() { do(r) })
		} else {
			do(r)
		}
	}
}

func (s *scene) echoService() *Service {
	return &Service{Request: s.answering(func(r *Call) { r.Reply(r.Body) })}
}

// expectEcho requests one of the echo services.
func (s *scene) expectEcho(p Program, body string, timeout time.Duration) error {
	switch got, err := p.Request(s.lib.cluster, body, timeout); {
	case err != nil:
		return fmt.Errorf("request %q: %w", body, err)
	case got != body:
		return fmt.Errorf("request %q was answered %q", body, got)
	}
	return nil
}

// requests: as soon as all are there, every client and every service requests
// echoes from the services, one after the other.
func requests(clients, services, messages int, timeout time.Duration) func(*scene) {
	return func(s *scene) {
		programs := make([]Program, services+clients)
		s.all(len(programs), func(i int) (err error) {
			var svc *Service
			if i < services {
				svc = s.echoService()
			}
			programs[i], err = s.attach(svc)
			return err
		})
		s.phase("attaching")
		s.all(len(programs), func(i int) error {
			for j := range messages {
				if err := s.expectEcho(programs[i], s.text(i, j), s.within(timeout)); err != nil {
					return err
				}
			}
			return nil
		})
		s.phase("requesting")
	}
}

// requestMany: several threads of a service request echoes from it.
func requestMany(messages, threads int) func(*scene) {
	return func(s *scene) {
		messages := s.many(messages)
		p := s.join(s.echoService())
		s.all(threads, func(i int) error {
			for j := i; j < messages; j += threads {
				if err := s.expectEcho(p, s.text(i, j), s.within(time.Second)); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// requestsFail: the text of a fault arrives as it was sent.
func requestsFail(messages int) func(*scene) {
	return func(s *scene) {
		p := s.join(&Service{Request: s.answering(func(r *Call) { r.Fail("fault of " + r.Body) })})
		for j := range messages {
			_, err := p.Request(s.lib.cluster, s.text(0, j), s.within(time.Second))
			if want := Fault("fault of " + s.text(0, j)); err != want {
				s.t.Fatalf("request ended with %v, wanted %v", err, want)
			}
		}
		s.phase("requesting")
	}
}

// requestsTimeOut: a request with more time than its handler takes is answered,
// one with less times out before the handler is done.
func requestsTimeOut(took, long, short time.Duration) func(*scene) {
	return func(s *scene) {
		k := s.stretch(short)
		p := s.join(&Service{Request: s.answering(func(r *Call) {
			time.Sleep(took * k)
			r.Reply(r.Body)
		})})
		s.must(s.expectEcho(p, s.text(0, 0), long*k))
		start := time.Now()
		if _, err := p.Request(s.lib.cluster, s.text(0, 1), short*k); err != ErrTimeout {
			s.t.Fatalf("request ended with %v, wanted: %v", err, ErrTimeout)
		}
		if late := time.Since(start); late >= took*k {
			s.t.Fatalf("request of %v timed out after %v, when its handler was done", short*k, late)
		}
		s.phase("requesting")
	}
}

// limitsRequestThreads: of four requests at once, one is handled at a time, but
// all in time: two are answered after two and a half times as long as one takes,
// and no more, four after five times as long.
func limitsRequestThreads(took, timeout time.Duration) func(*scene) {
	return func(s *scene) {
		var running atomic.Int32
		p := s.join(&Service{Requests: Limit{Threads: 1}, Request: func(r *Call) {
			s.alone(&running, took)
			r.Reply(r.Body)
		}})
		done := make(chan string, 4)
		start := time.Now()
		for j := range 4 {
			s.work.Go(func() {
				if err := s.expectEcho(p, s.text(0, j), s.within(timeout)); err != nil {
					s.errorf("%v", err)
				}
				once(s, done, s.text(0, j))
			})
		}
		s.takes(done, 2, start, took*5/2)
		s.takes(done, 2, start, took*5)
		s.phase("requesting")
	}
}

// limitsRequestMemory: with room for one octet in its queue, a service answers
// requests of 1 and 1 octet, and one of 2 times out.
func limitsRequestMemory(timeout time.Duration) func(*scene) {
	return func(s *scene) {
		timeout := timeout * s.stretch(timeout)
		svc := s.echoService()
		svc.Requests = Limit{Memory: 1}
		p := s.join(svc)
		s.must(s.expectEcho(p, "1", timeout))
		if _, err := p.Request(s.lib.cluster, "22", timeout); err != ErrTimeout {
			s.t.Fatalf("request beyond the limit ended with %v, wanted: %v", err, ErrTimeout)
		}
		s.must(s.expectEcho(p, "3", timeout))
		s.phase("requesting")
	}
}

// requestsExpire: of four requests at once, with less time than one takes to
// handle, a service with one thread handles one and discards the others, all of
// which time out.
func requestsExpire(timeout, took time.Duration) func(*scene) {
	return func(s *scene) {
		k := s.stretch(timeout)
		timeout, took := timeout*k, took
		if k > 1 {
			took = 2 * timeout // k times as long would be too long to wait for
		}
		var handled atomic.Int32
		p := s.join(&Service{Requests: Limit{Threads: 1}, Request: func(r *Call) {
			if r.Timeout >= 0 && r.Timeout != timeout {
				s.errorf("request of %v came with %v", timeout, r.Timeout)
			}
			handled.Add(1)
			time.Sleep(took)
			r.Reply(r.Body)
		}})
		s.all(4, func(j int) error {
			if _, err := p.Request(s.lib.cluster, s.text(0, j), timeout); err != ErrTimeout {
				return fmt.Errorf("request ended with %v, wanted: %v", err, ErrTimeout)
			}
			return nil
		})
		time.Sleep(took * 3 / 2)
		if n := handled.Load(); n != 1 {
			s.t.Fatalf("%d of 4 requests were handled, wanted 1", n)
		}
		s.phase("requesting")
	}
}

// requestsTerminate: a client that closes while its request is being handled
// does not have to wait for it.
func requestsTerminate(took time.Duration) func(*scene) {
	return func(s *scene) {
		took := took * s.stretch(took/2)
		s.join(&Service{Request: func(r *Call) {
			time.Sleep(took)
			r.Reply(r.Body)
		}})
		client := s.join(nil)
		ended := make(chan error, 1)
		s.work.Go(func() {
			_, err := client.Request(s.lib.cluster, s.text(0, 0), 10*took)
			ended <- err
		})
		time.Sleep(took / 2)
		start := time.Now()
		s.must(client.Close())
		if late := time.Since(start); late >= took/2 {
			s.t.Fatalf("close took %v, until the request was handled", late)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			s.t.Fatalf("request ended with %v, wanted: %v", err, ErrClosed)
		}
		time.Sleep(took) // the late reply comes
		s.phase("closing")
	}
}
