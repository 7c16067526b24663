package hosts

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/internal/relaywire"
)

// An older program speaks protocol v0. It answers requests with its app, and sends
// back what comes on a tunnel that is made to it.
type older struct {
	t     *testing.T
	nc    net.Conn
	app   string
	heard *ledger                // events and broadcasts
	came  chan relaywire.Message // what it asked for
	done  chan struct{}

	mu sync.Mutex // of writing
}

const (
	ownTunnel   = 1 // id of the tunnel that an older program makes
	theirTunnel = 2 // of the one that is made to it
)

func (n *network) older(t *testing.T, i int, app string) *older {
	t.Helper()
	nc, err := net.Dial("unix", n.nodes[i].Socket)
	if err != nil {
		t.Fatal(err)
	}
	p := &older{t: t, nc: nc, app: app, heard: newLedger(), came: make(chan relaywire.Message, 8), done: make(chan struct{})}
	p.send(relaywire.Message{Op: relaywire.Init, Version: []byte(relaywire.VersionV0), Name: []byte(app)})
	go p.read()
	t.Cleanup(func() {
		p.send(relaywire.Message{Op: relaywire.Close})
		<-p.done
		nc.Close()
	})
	if p.want(relaywire.Accept); t.Failed() {
		t.FailNow()
	}
	return p
}

func (p *older) send(m relaywire.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.nc.Write(relaywire.V0.AppendToNode(nil, &m)); err != nil {
		p.t.Errorf("%s: send: %v", p.app, err)
	}
}

// want returns the next message that it asked for.
func (p *older) want(op relaywire.Op) relaywire.Message {
	p.t.Helper()
	select {
	case m := <-p.came:
		if m.Op != op || m.TimedOut {
			p.t.Errorf("%s: came message %v, timed out %v, wanted %v", p.app, m.Op, m.TimedOut, op)
		}
		return m
	case <-withLimit(p.t).Done():
		p.t.Fatalf("%s: no message %v came", p.app, op)
	}
	panic("unreachable")
}

// read handles messages until the node closes.
func (p *older) read() {
	defer close(p.done)
	buf := make([]byte, 64<<10)
	var m relaywire.Message
	for r, w := 0, 0; ; {
		n, err := relaywire.V0.ParseToClient(&relaywire.DefaultLimits, buf[r:w], &m)
		switch {
		case err == nil:
			r += n
			if m.Op == relaywire.Close {
				return
			}
			m.Body = bytes.Clone(m.Body)
			p.handle(m)
			continue
		case err != relaywire.ErrShort:
			p.t.Errorf("%s: %v", p.app, err)
			return
		case n > len(buf):
			buf = append(make([]byte, 0, n), buf[r:w]...)[:n]
		default:
			copy(buf, buf[r:w])
		}
		r, w = 0, w-r
		if n, err = p.nc.Read(buf[w:]); n == 0 {
			p.t.Errorf("%s was cut off: %v", p.app, err)
			return
		}
		w += n
	}
}

func (p *older) handle(m relaywire.Message) {
	switch m.Op {
	case relaywire.Request:
		p.send(relaywire.Message{Op: relaywire.Reply, ID: m.ID, Body: []byte(p.app)})
	case relaywire.Publish, relaywire.Broadcast:
		p.heard.add(string(m.Body))
	case relaywire.TunnelInit:
		p.send(relaywire.Message{Op: relaywire.TunnelConfirm, ID: m.ID, Tunnel: theirTunnel, Size: 128})
	case relaywire.TunnelTransfer:
		p.send(relaywire.Message{Op: relaywire.TunnelAllow, ID: m.ID})
		if m.ID == theirTunnel {
			p.send(m)
		} else {
			p.came <- m
		}
	case relaywire.Accept, relaywire.Reply, relaywire.TunnelResult:
		p.came <- m
	}
}

// Programs of the older protocol and of the present one, on two hosts, find each other.
func TestOlderPrograms(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 2, 0)
	await := func(l *ledger, entry string) {
		t.Helper()
		if !l.await(withLimit(t), entry) {
			t.Errorf("%q did not come", entry)
		}
	}
	const old, young, topic = secret + " old", secret + " young", secret + " news"
	o := n.older(t, 0, old)
	s := newService(young, newLedger())
	y := n.member(t, 1, young, s)

	o.send(relaywire.Message{Op: relaywire.Request, Name: []byte(young), Body: []byte("from the old"), Timeout: uint64(limit.Milliseconds())})
	if m := o.want(relaywire.Reply); string(m.Body) != young {
		t.Errorf("the old program was answered %q", m.Body)
	}
	await(s.requests, "from the old")
	if reply, err := y.Request(withLimit(t), old, []byte("?")); string(reply) != old {
		t.Errorf("the young program was answered %q, %v", reply, err)
	}

	events := newLedger()
	subscribe(t, y, topic, events)
	o.send(relaywire.Message{Op: relaywire.Subscribe, Name: []byte(topic)})
	both := []*ledger{events, o.heard}
	if err := settle(withLimit(t), y, both, "from the young", func(ctx context.Context, c *iris.Client, msg []byte) error {
		return c.Publish(ctx, topic, msg)
	}); err != nil {
		t.Fatal(err)
	}
	o.send(relaywire.Message{Op: relaywire.Publish, Name: []byte(topic), Body: []byte("from the old")})
	for _, l := range both {
		await(l, "from the old")
	}
	if err := y.Broadcast(withLimit(t), old, []byte("to the old")); err != nil {
		t.Fatal(err)
	}
	await(o.heard, "to the old")
	o.send(relaywire.Message{Op: relaywire.Broadcast, Name: []byte(young), Body: []byte("to the young")})
	await(s.broadcasts, "to the young")

	long := make([]byte, 16<<20)
	rand.NewChaCha8([32]byte{}).Read(long)
	tunnel, err := y.Tunnel(withLimit(t), old)
	if err != nil {
		t.Fatal(err)
	}
	if err := tunnel.Send(withLimit(t), long); err != nil {
		t.Fatal(err)
	}
	if back, err := tunnel.Recv(withLimit(t)); err != nil || !bytes.Equal(back, long) {
		t.Errorf("of %d octets %d came back from the old program, or others: %v", len(long), len(back), err)
	}
	if err := tunnel.Close(); err != nil {
		t.Error(err)
	}

	o.send(relaywire.Message{Op: relaywire.TunnelInit, ID: ownTunnel, Name: []byte(young), Size: 128, Timeout: uint64(limit.Milliseconds())})
	o.want(relaywire.TunnelResult)
	o.send(relaywire.Message{Op: relaywire.TunnelTransfer, ID: ownTunnel, Body: long})
	if m := o.want(relaywire.TunnelTransfer); !bytes.Equal(m.Body, long) {
		t.Errorf("of %d octets %d came back from the young program, or others", len(long), len(m.Body))
	}
}
