package node

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
)

// raw is a program on the bare protocol.
type raw struct {
	t   testing.TB
	nc  net.Conn
	buf []byte
}

func attach(t testing.TB, nc net.Conn, cluster string) *raw {
	r := &raw{t: t, nc: nc}
	r.send(relaywire.Message{Op: relaywire.Init, Magic: []byte(relaywire.ClientMagic), Version: []byte(relaywire.Version), Name: []byte(cluster)})
	r.want(relaywire.Accept)
	return r
}

func (r *raw) send(m relaywire.Message) {
	r.t.Helper()
	if _, err := r.nc.Write(m.AppendToNode(nil)); err != nil {
		r.t.Fatalf("send %v: %v", m.Op, err)
	}
}

func (r *raw) want(op relaywire.Op) relaywire.Message {
	r.t.Helper()
	for {
		var m relaywire.Message
		n, err := relaywire.DefaultLimits.ParseToClient(r.buf, &m)
		if err == nil {
			r.buf = r.buf[n:]
			if m.Op != op {
				r.t.Fatalf("came message %v, wanted %v", m, op)
			}
			return m
		}
		if err != relaywire.ErrShort {
			r.t.Fatalf("came %x: %v", r.buf, err)
		}
		p := make([]byte, 64<<10)
		n, err = r.nc.Read(p)
		if n == 0 && err != nil {
			r.t.Fatalf("wanted %v: %v", op, err)
		}
		r.buf = append(r.buf, p[:n]...)
	}
}

func startMem(t testing.TB) (*Node, *memnet.Listener) {
	l := memnet.Listen("relay")
	n, err := New(Config{Dev: true, Listeners: []net.Listener{l}, Memory: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return n, l
}

func dial(t testing.TB, l *memnet.Listener) net.Conn {
	nc, err := l.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// TestControlLoopMayStand stops the control loop for a second: requests, events
// and tunnels between names that are known go on.
func TestControlLoopMayStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := startMem(t)
		defer n.Close()
		service := attach(t, dial(t, l), "echo")
		client := attach(t, dial(t, l), "")
		client.send(relaywire.Message{Op: relaywire.Subscribe, Name: []byte("news")})
		time.Sleep(time.Millisecond)

		standing := make(chan struct{})
		go n.do(func(time.Time, *queue.Batch) {
			close(standing)
			time.Sleep(time.Second)
		})
		<-standing
		began := time.Now()

		client.send(relaywire.Message{Op: relaywire.Request, ID: 7, Name: []byte("echo"), Body: []byte("hello"), Timeout: 500})
		q := service.want(relaywire.Request)
		service.send(relaywire.Message{Op: relaywire.Reply, ID: q.ID, Body: q.Body})
		if m := client.want(relaywire.Reply); m.ID != 7 || string(m.Body) != "hello" {
			t.Errorf("came reply %+v, wanted hello for request 7", m)
		}

		service.send(relaywire.Message{Op: relaywire.Publish, Name: []byte("news"), Body: []byte("event")})
		if m := client.want(relaywire.Publish); string(m.Body) != "event" {
			t.Errorf("came event %q", m.Body)
		}

		client.send(relaywire.Message{Op: relaywire.TunnelInit, ID: 3, Name: []byte("echo"), Timeout: 500})
		o := service.want(relaywire.TunnelInit)
		service.send(relaywire.Message{Op: relaywire.TunnelConfirm, ID: o.ID, Tunnel: 9})
		service.want(relaywire.TunnelAllow)
		service.send(relaywire.Message{Op: relaywire.TunnelAllow, ID: 9, Size: 1000})
		client.want(relaywire.TunnelResult)
		client.want(relaywire.TunnelAllow)
		client.send(relaywire.Message{Op: relaywire.TunnelTransfer, ID: 3, Size: 4, Body: []byte("data")})
		if m := service.want(relaywire.TunnelTransfer); m.ID != 9 || string(m.Body) != "data" {
			t.Errorf("came chunk %+v", m)
		}

		// A deadline passes too.
		client.send(relaywire.Message{Op: relaywire.Request, ID: 8, Name: []byte("echo"), Timeout: 100})
		service.want(relaywire.Request)
		if m := client.want(relaywire.Reply); m.ID != 8 || !m.TimedOut {
			t.Errorf("came reply %+v, wanted the timeout form for request 8", m)
		}
		if d := time.Since(began); d >= time.Second {
			t.Errorf("took %v: the loop was waited for", d)
		}
	})
}
