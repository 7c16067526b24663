package conform

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// OlderExpectations returns what the libraries of V0 in use expect of a node: a case for
// every test of theirs, with its numbers.
func OlderExpectations() []Case {
	return slices.Concat(
		cases(&library{
			name:    "go-v0",
			dialect: relaywire.V0,
			cluster: "go-v0-test-app",
			topic:   "go-v0-test-topic",
			threads: math.MaxInt,
			memory:  math.MaxInt,
			octets:  128,
			gap:     5 * time.Second,
			rate:    512 << 20,
		}, []expectation{
			{name: "TestConnectSingle", play: connects(1), quick: true},
			{name: "TestConnectConcurrent", play: comesAndGoes(100), quick: true},
			{name: "TestConnectParallel", play: connects(100), quick: true},
			{name: "TestBroadcastSingle", play: broadcasts(0, 1, 1000), quick: true},
			{name: "TestBroadcastMulti", play: broadcasts(0, 100, 25), timed: true},
			{name: "TestReqRepSingle", play: requests(0, 1, 1000, 250*ms), timed: true, quick: true},
			{name: "TestReqRepMulti", play: requests(0, 75, 75, 250*ms), timed: true},
			{name: "TestPubSubSingle", play: publishesInTurn(75, 75, 10*ms), timed: true},
			{name: "TestPubSubMulti", play: publishes(0, 10, 10, 10, 100*ms), quick: true},
			{name: "TestTunnelSingle", play: sendsAhead(1000, 250*ms, 250*ms), timed: true, quick: true},
			{name: "TestTunnelMulti", play: tunnels(0, 75, 1, 50, 500*ms, 500*ms), timed: true},
		}),
		cases(&library{
			name:     "erl-v0",
			dialect:  relaywire.V0,
			cluster:  "erl-v0-test-app",
			topic:    "erl-v0-test-topic",
			threads:  1,
			memory:   math.MaxInt,
			gap:      5 * time.Second,
			rate:     512 << 20,
			deferred: true,
			total:    5 * time.Second,
		}, []expectation{
			{name: "connection single_test", play: connects(1), quick: true},
			{name: "connection multi_test", play: connects(100), quick: true},
			{name: "broadcast single_test", play: broadcasts(0, 1, 1000), quick: true},
			{name: "broadcast multi_test", play: broadcasts(0, 100, 25), timed: true},
			{name: "pubsub single_test", play: publishes(0, 1, 75, 75, 10*ms), timed: true, quick: true},
			{name: "pubsub multi_test", play: publishes(0, 10, 10, 10, 10*ms), timed: true, quick: true},
			{name: "reqrep single_test", play: requests(0, 1, 1000, 250*ms), timed: true, quick: true},
			{name: "reqrep multi_test", play: requests(0, 75, 75, 250*ms), timed: true},
			{name: "tunnel single_test", play: sendsAhead(1000, 500*ms, time.Second), timed: true, quick: true},
			{name: "tunnel multi_test", play: tunnels(0, 75, 1, 50, 500*ms, time.Second), timed: true},
		}),
	)
}

// comesAndGoes: n programs attach at once, and each closes as soon as it is attached.
func comesAndGoes(n int) func(*scene) {
	return func(s *scene) {
		s.all(n, func(int) error {
			p, err := s.attach(nil)
			if err != nil {
				return err
			}
			return p.Close()
		})
	}
}

// publishesInTurn: a program subscribes to one topic after the other, and publishes
// events in each when that has settled. It gets all of them, exactly once.
func publishesInTurn(topics, events int, settling time.Duration) func(*scene) {
	return func(s *scene) {
		p := s.join(nil)
		y := s.tally()
		for k := range topics {
			topic := fmt.Sprintf("%s-%d", s.lib.topic, k)
			s.must(p.Subscribe(topic, Limit{}, y.add))
			time.Sleep(settling) // no longer over sockets: the program's own events follow
			for j := range events {
				s.must(p.Publish(topic, s.text(k, j)))
			}
		}
		s.must(y.wait(topics * events))
	}
}

// sendsAhead: a program sends itself messages through a tunnel, where they are sent
// back, and takes none before it has sent them all.
func sendsAhead(messages int, building, passing time.Duration) func(*scene) {
	return func(s *scene) {
		p := s.join(&Service{Tunnel: s.echoTunnel(passing)})
		t, err := p.Open(s.lib.cluster, s.within(building))
		s.must(err)
		for j := range messages {
			s.must(t.Send([]byte(s.text(0, j)), s.within(passing)))
		}
		for j := range messages {
			got, err := t.Receive(s.within(passing))
			s.must(err)
			if want := s.text(0, j); string(got) != want {
				s.t.Fatalf("came back %q, wanted %q", got, want)
			}
		}
		s.must(t.Close())
	}
}
