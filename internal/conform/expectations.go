package conform

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// A library is what the tests of a library in use have in common.
type library struct {
	name           string
	dialect        relaywire.Dialect
	cluster, topic string
	first          uint64        // id of the first request and of the first tunnel
	threads        int           // handlers a queue runs at once
	memory         int           // octets a queue holds
	octets         int           // of a message, at least
	gap            time.Duration // limit between two of many broadcasts or events
	deferred       bool          // services answer every other request from elsewhere than its handler
	total          time.Duration // limit of a test, 0: none
	phase          time.Duration // limit of a part of a test, 0: none

	// rate is how many octets a second a program puts on a tunnel in invented
	// time: so few that what must not get through in the overload test cannot.
	rate int
}

// An expectation is a test of a library's own, as far as it concerns the node.
type expectation struct {
	name   string
	play   func(s *scene)
	timed  bool // see Case
	quick  bool // part of the library's case "back to back"
	rounds int  // how often to play it in its own case, 0: once
}

const ms = time.Millisecond

// Expectations returns what the v1 libraries in use expect of a node: a case
// for every test of theirs, with its numbers. Scala's library is Java's.
func Expectations() []Case {
	return slices.Concat(
		cases(&library{
			name:    "go",
			cluster: "go-binding-test-cluster",
			topic:   "go-binding-test-topic",
			threads: 8,
			memory:  64 << 20,
			gap:     time.Second,
			rate:    512 << 20,
		}, []expectation{
			{name: "TestConnect", play: connects(100), quick: true},
			{name: "TestRegister", play: registers(100), quick: true},
			{name: "TestBroadcast", play: broadcasts(25, 25, 25), quick: true},
			{name: "TestBroadcastThreadLimit", play: limitsThreads(100*ms, overCluster), timed: true},
			{name: "TestBroadcastMemoryLimit", play: limitsMemory(1*ms, overCluster), timed: true, quick: true},
			{name: "TestRequest", play: requests(25, 25, 25, time.Second), quick: true},
			{name: "TestRequestFail", play: requestsFail(125), quick: true},
			{name: "TestRequestTimeout", play: requestsTimeOut(25*ms, 50*ms, 12*ms), timed: true, quick: true},
			{name: "TestRequestThreadLimit", play: limitsRequestThreads(25*ms, 125*ms), timed: true},
			{name: "TestRequestMemoryLimit", play: limitsRequestMemory(25 * ms), timed: true, quick: true},
			{name: "TestRequestExpiration", play: requestsExpire(1*ms, 25*ms), timed: true, quick: true},
			{name: "TestPublish", play: publishes(5, 5, 7, 15, 100*ms), quick: true},
			{name: "TestPublishThreadLimit", play: limitsThreads(100*ms, overTopic), timed: true},
			{name: "TestPublishMemoryLimit", play: limitsMemory(1*ms, overTopic), timed: true, quick: true},
			{name: "TestTunnel", play: tunnels(7, 7, 7, 7, time.Second, time.Second), quick: true},
			{name: "TestTunnelTimeout", play: tunnelsTimeOut(100 * ms), quick: true},
			{name: "TestTunnelChunking", play: tunnelsChunk(16<<20, 10*time.Second)},
			{name: "TestTunnelOverload", play: tunnelsOverload(64<<20, 10*ms), timed: true},
		}),
		cases(&library{
			name:     "erl",
			cluster:  "erlang-binding-test-cluster",
			topic:    "erlang-binding-test-topic",
			threads:  1,
			memory:   64 << 20,
			gap:      time.Second,
			rate:     512 << 20,
			deferred: true,
			total:    5 * time.Second,
		}, slices.Concat([]expectation{
			{name: "connect_test", play: connects(100), quick: true},
			{name: "register_test", play: registers(100), quick: true},
			{name: "broadcast_test", play: broadcasts(25, 25, 25), quick: true},
			{name: "broadcast_memory_limit_test", play: limitsMemory(1*ms, overCluster), timed: true, quick: true},
			{name: "request_test", play: requests(25, 25, 25, time.Second), quick: true},
			{name: "request_memory_limit_test", play: limitsRequestMemory(1 * ms), timed: true, quick: true},
			{name: "request_fail_test", play: requestsFail(125), quick: true},
			{name: "request_timeout_test", play: requestsTimeOut(25*ms, 50*ms, 12*ms), timed: true, quick: true},
			{name: "request_expiration_test", play: requestsExpire(1*ms, 25*ms), timed: true, quick: true},
			{name: "publish_test", play: publishes(5, 5, 7, 15, 100*ms), quick: true},
			{name: "publish_memory_limit_test", play: limitsMemory(1*ms, overTopic), timed: true, quick: true},
			{name: "tunnel_test", play: tunnels(7, 7, 7, 7, time.Second, time.Second), quick: true},
			{name: "tunnel_timeout_test", play: tunnelsTimeOut(100 * ms), quick: true},
			{name: "tunnel_chunking_test", play: tunnelsChunk(8<<20, 10*time.Second)},
			// The limit is that of release 1.0.0. A later one of 10 ms is left
			// out: a node can be fast enough to fail it.
			{name: "tunnel_overload_test", play: tunnelsOverload(8<<20, 1*ms), timed: true},
			{name: "broadcast_latency_benchmark_test", play: echoes(10000, overCluster), timed: true},
			{name: "request_latency_benchmark_test", play: requestMany(5000, 1), timed: true},
			{name: "publish_latency_benchmark_test", play: echoes(10000, overTopic), timed: true},
			{name: "tunnel_latency_benchmark_test", play: tunnelEchoes(5000), timed: true},
			{name: "tunnel_throughput_benchmark_test", play: tunnelFlood(10000), timed: true},
		},
			perThreads("broadcast", func(n int) func(*scene) { return flood(50000, n, overCluster) }),
			perThreads("request", func(n int) func(*scene) { return requestMany(10000, n) }),
			perThreads("publish", func(n int) func(*scene) { return flood(50000, n, overTopic) }),
		)),
		// BoundedThreadPoolTest.schedule and .capacity are about the library's
		// thread pool alone: there is nothing for a node to do. Of the two
		// tests of what is refused after close, the close remains.
		cases(&library{
			name:    "java",
			cluster: "java-binding-test-cluster",
			topic:   "java-binding-test-topic",
			first:   1,
			threads: 8,
			memory:  64 << 20,
			gap:     time.Second,
			rate:    64 << 20,
			phase:   3 * time.Second,
		}, []expectation{
			{name: "HandshakeTest.connection", play: connects(1), quick: true, rounds: 15},
			{name: "HandshakeTest.service", play: registers(1), quick: true, rounds: 15},
			{name: "BroadcastTest.concurrentBroadcasts", play: broadcasts(25, 25, 25), quick: true},
			{name: "BroadcastTest.threadLimiting", play: limitsThreads(100*ms, overCluster), timed: true},
			{name: "BroadcastTest.memoryLimiting", play: limitsMemory(100*ms, overCluster), timed: true, quick: true, rounds: 15},
			{name: "BroadcastTest.terminate", play: registers(1), quick: true, rounds: 15},
			{name: "RequestTest.concurrentRequests", play: requests(25, 25, 25, time.Second), quick: true},
			{name: "RequestTest.fail", play: requestsFail(125), quick: true, rounds: 15},
			{name: "RequestTest.timeout", play: requestsTimeOut(100*ms, 200*ms, 50*ms), timed: true, quick: true},
			{name: "RequestTest.threadLimiting", play: limitsRequestThreads(250*ms, 1250*ms), timed: true},
			{name: "RequestTest.memoryLimiting", play: limitsRequestMemory(time.Second), timed: true},
			{name: "RequestTest.expiration", play: requestsExpire(10*ms, 25*ms), timed: true, quick: true},
			{name: "RequestTest.terminate", play: requestsTerminate(250 * ms), timed: true, quick: true},
			{name: "PublishTest.concurrentPublishes", play: publishes(5, 5, 7, 15, 100*ms), quick: true},
			{name: "PublishTest.threadLimiting", play: limitsThreads(100*ms, overTopic), timed: true},
			{name: "PublishTest.memoryLimiting", play: limitsMemory(100*ms, overTopic), timed: true, quick: true, rounds: 15},
			{name: "PublishTest.terminate", play: connects(1), quick: true, rounds: 15},
			{name: "TunnelGeneralTest.concurrentTunnels", play: tunnels(7, 7, 7, 7, time.Second, time.Second), quick: true},
			{name: "TunnelGeneralTest.timeout", play: tunnelsTimeOut(100 * ms), quick: true},
			{name: "TunnelGeneralTest.chunking", play: tunnelsChunk(16<<20, 10*time.Second)},
			// The library's send limits of 10 and 100 ms last ten times as long. Not
			// timed, since over sockets the first says how slow the library is.
			{name: "TunnelGeneralTest.overload", play: tunnelsOverload(64<<20, 100*ms)},
			{name: "TunnelInterruptTest.interruptLocalReceive", play: interrupts(receiving, locally), timed: true, quick: true},
			{name: "TunnelInterruptTest.interruptRemoteReceive", play: interrupts(receiving, remotely), timed: true, quick: true},
			{name: "TunnelInterruptTest.interruptLocalSend", play: interrupts(sending, locally), timed: true},
			{name: "TunnelInterruptTest.interruptRemoteSend", play: interrupts(sending, remotely), timed: true},
		}),
	)
}

// perThreads returns a throughput benchmark for every number of threads.
func perThreads(what string, play func(threads int) func(*scene)) (es []expectation) {
	for n := 1; n <= 128; n *= 2 {
		es = append(es, expectation{
			name:  fmt.Sprintf("%s_throughput_%d_threads_benchmark_test", what, n),
			play:  play(n),
			timed: true,
		})
	}
	return es
}

// cases makes a case of every expectation, and one of all quick ones together:
// since they share their names, a member or subscription that one leaves behind
// shows in the next.
func cases(l *library, es []expectation) (cs []Case) {
	var quick []expectation
	for _, e := range es {
		cs = append(cs, Case{
			Name:  l.name + "/" + e.name,
			Timed: e.timed,
			Run: func(t testing.TB, n *Node) {
				for range max(1, e.rounds) {
					l.perform(t, n, e)
				}
			},
		})
		if e.quick {
			quick = append(quick, e)
		}
	}
	return append(cs, Case{
		Name: l.name + "/back to back",
		Run: func(t testing.TB, n *Node) {
			for _, e := range quick {
				l.perform(t, n, e)
				if t.Failed() {
					t.Fatalf("failed in %s", e.name)
				}
			}
		},
	})
}
