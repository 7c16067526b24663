package node

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/conform"
	"github.com/project-iris/iris/internal/memnet"
)

// The conformance suite takes a function that starts the node, so that it can
// run against any: here one node on an in-memory network, and one on sockets.

// suiteLog shows what the node logs when IRIS_TEST_LOG is set.
func suiteLog() *slog.Logger {
	if os.Getenv("IRIS_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// virtualNode starts a node on an in-memory network, in invented time.
func virtualNode(t testing.TB) *conform.Node {
	l := memnet.Listen("relay")
	n, err := New(Config{Dev: true, Listeners: []net.Listener{l}, Memory: 1 << 30, Log: suiteLog()})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return &conform.Node{Dial: l.Dial, Close: func() { n.Close() }}
}

// socketNode starts a node on loopback.
func socketNode(t testing.TB) *conform.Node {
	n, err := New(Config{Dev: true, Memory: 1 << 30, Log: suiteLog()})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	addr := n.addrs[0]
	return &conform.Node{
		Dial:  func() (net.Conn, error) { return net.Dial("tcp", addr) },
		Close: func() { n.Close() },
	}
}

var (
	inVirtual   = conform.Env{Start: virtualNode, Virtual: true}
	overSockets = conform.Env{Start: socketNode}
)

// oneOfThree starts nodes on loopback that join two others, which have members of
// other names.
func oneOfThree(t *testing.T) conform.Env {
	others := joined(t, 2)
	for i, n := range others {
		c := attached(t, n, "elsewhere", &member{name: "other"})
		if err := c.Subscribe("elsewhere", func([]byte) { t.Errorf("node %d: a stray event", i) }); err != nil {
			t.Fatal(err)
		}
	}
	seed := others[0].network.listener.Addr().String()
	return conform.Env{Meet: true, Start: func(t testing.TB) *conform.Node {
		n, err := New(Config{
			Network: "test", Key: testKey, Listen: "127.0.0.1:0", Peers: []string{seed},
			Memory: 1 << 30, Drain: 5 * time.Second, Log: suiteLog(),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		settled(t, n, others[0], others[1])
		addr := n.addrs[0]
		return &conform.Node{
			Dial:  func() (net.Conn, error) { return net.Dial("tcp", addr) },
			Close: func() { n.Close() },
		}
	}}
}

func requirements(t *testing.T) []conform.Case {
	return append(conform.Requirements(), conform.Vectors(t, "../internal/relaywire/testdata/relay-v1.json")...)
}

func TestRequirements(t *testing.T)            { conform.Run(t, inVirtual, requirements(t)) }
func TestRequirementsOverSockets(t *testing.T) { conform.Run(t, overSockets, requirements(t)) }
func TestExpectations(t *testing.T)            { conform.Run(t, inVirtual, conform.Expectations()) }
func TestExpectationsOverSockets(t *testing.T) { conform.Run(t, overSockets, conform.Expectations()) }

// What programs of protocol v0 expect.
func TestOlderExpectations(t *testing.T) { conform.Run(t, inVirtual, conform.OlderExpectations()) }
func TestOlderExpectationsOverSockets(t *testing.T) {
	conform.Run(t, overSockets, conform.OlderExpectations())
}

// What protocol v0 requires.
func TestOlderRequirements(t *testing.T) { conform.Run(t, inVirtual, olderRequirements(t)) }
func TestOlderRequirementsOverSockets(t *testing.T) {
	conform.Run(t, overSockets, olderRequirements(t))
}

func olderRequirements(t *testing.T) []conform.Case {
	return append(conform.OlderRequirements(), conform.OlderVectors(t, "../internal/relaywire/testdata/relay-v0.json")...)
}

// TestSuiteAgainstOneOfThree runs the suite against a node that is one of three: the
// requirements and vectors, and what one library of each protocol expects, but for what
// takes long and is no other beside other nodes.
func TestSuiteAgainstOneOfThree(t *testing.T) {
	var cases []conform.Case
	for _, c := range slices.Concat(requirements(t), conform.Expectations(), conform.OlderExpectations()) {
		if !c.Timed && !slices.ContainsFunc([]string{
			"R5 bad varint", "R6 length above", // the parser's
			"10000 topics", // TestNetworkManyTopicsAtOnce is about them
			"R46 many tunnels to a peer",
			"erl/", "java/", "go/back to back", // much the same as the rest of go/
			"erl-v0/", "go-v0/Test", // ... as go-v0/back to back
		}, func(start string) bool { return strings.HasPrefix(c.Name, start) }) {
			cases = append(cases, c)
		}
	}
	conform.Run(t, oneOfThree(t), cases)
}

// TestSoak repeats the cases that depend on real time, with their exact limits,
// and prints how often each failed. It is run by "make soak", which sets
// IRIS_SOAK to the number of rounds.
func TestSoak(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("IRIS_SOAK"))
	if err != nil {
		t.Skip("a measurement, not a test: run make soak")
	}
	fmt.Println()
	cases := slices.Concat(conform.Expectations(), conform.OlderExpectations(), conform.Requirements())
	conform.Soak(overSockets, cases, rounds, os.Stdout)
}
