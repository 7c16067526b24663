package conform

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// tapped runs do in invented time with a tapped connection, by which a client
// attaches, and its other end. It returns what the scene reported.
func tapped(t *testing.T, do func(t *testing.T, program, node net.Conn)) string {
	t.Helper()
	var reports bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		s := &scene{
			t:    &recorder{name: "scene", out: &reports},
			lib:  &library{rate: 64 << 10},
			node: &Node{virtual: true, Dial: func() (net.Conn, error) { return near, nil }},
		}
		conn, err := s.tap("client 1")
		if err != nil {
			t.Fatal(err)
		}
		trickle(t, conn, far, outward(initOf("")))
		trickle(t, far, conn, inward(accept))
		do(t, conn, far)
	})
	return reports.String()
}

// outward returns messages as a program sends them, inward as the node does.
func outward(ms ...message) (b []byte) {
	for i := range ms {
		b = ms[i].AppendToNode(b)
	}
	return b
}

func inward(ms ...message) (b []byte) {
	for i := range ms {
		b = ms[i].AppendToClient(b)
	}
	return b
}

// trickle writes b to one end and reads it at the other, octet by octet.
func trickle(t *testing.T, from, to net.Conn, b []byte) {
	t.Helper()
	for i := range b {
		go from.Write(b[i : i+1])
		if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	}
}

func TestTapReportsTheFirstObjection(t *testing.T) {
	for _, v := range []struct {
		name             string
		toNode, toClient []byte
		want             string
	}{
		{"fine", outward(subscribe("a"), publish("a", "x")), inward(publish("a", "x")), ""},
		{"from the program", outward(unsubscribe("a"), unsubscribe("b")), nil, `scene: on the connection of client 1: topic "a" is not subscribed`},
		{"from the node", nil, inward(reply(1, ""), reply(2, "")), "scene: on the connection of client 1: reply to request 1, which is not pending"},
		{"no message from the program", []byte{0x0e}, nil, "scene: on the connection of client 1: unknown opcode"},
		{"no message from the node", nil, []byte{0x0e}, "scene: on the connection of client 1: unknown opcode"},
		{"padded length", []byte{byte(relaywire.Subscribe), 0x81, 0x00, 'a'}, nil, "scene: on the connection of client 1: opcode 06 is not encoded in its shortest form"},
	} {
		got := tapped(t, func(t *testing.T, program, node net.Conn) {
			trickle(t, program, node, v.toNode)
			trickle(t, node, program, v.toClient)
		})
		if got = strings.TrimSpace(got); got != v.want {
			t.Errorf("%s: reported %q, wanted %q", v.name, got, v.want)
		}
	}
}

func TestTapSlowsTunnels(t *testing.T) {
	body := strings.Repeat("x", relaywire.ChunkLimit)
	reports := tapped(t, func(t *testing.T, program, node net.Conn) {
		go io.Copy(io.Discard, node)
		took(t, program, publish("a", body), 0)
		took(t, program, tunnelInit(1, "group", 10), 0)
		trickle(t, node, program, inward(tunnelResult(1)))
		trickle(t, node, program, inward(tunnelAllow(1, relaywire.TunnelWindow)))
		took(t, program, chunk(1, relaywire.ChunkLimit, body), time.Second) // the rate is one chunk a second
	})
	if reports != "" {
		t.Error(reports)
	}
}

// took fails unless writing m takes just as long as wanted.
func took(t *testing.T, conn net.Conn, m message, want time.Duration) {
	t.Helper()
	start := time.Now()
	conn.Write(m.AppendToNode(nil))
	if took := time.Since(start); took != want {
		t.Errorf("message %02x took %v to write, wanted %v", byte(m.Op), took, want)
	}
}
