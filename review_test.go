package iris_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/internal/relaywire"
)

// idle plays a node that takes everything and answers no more than a farewell.
func (n *fake) idle() {
	for m := n.next(); m != nil; m = n.next() {
		if m.Op == relaywire.Close {
			n.send(relaywire.Message{Op: relaywire.Close})
			return
		}
	}
}

// What a Send that ran out of time did not send is not paid for.
func TestTunnelSendThatFailsCostsNoCredit(t *testing.T) {
	const chunk = relaywire.ChunkLimit
	withFake(t, func(n *fake) {
		n.accept()
		m := n.next()
		n.send(relaywire.Message{Op: relaywire.TunnelResult, ID: m.ID, Size: chunk},
			relaywire.Message{Op: relaywire.TunnelAllow, ID: m.ID, Size: chunk})
		time.Sleep(time.Minute) // without reading
		for m := n.next(); m != nil; m = n.next() {
			switch m.Op {
			case relaywire.TunnelClose:
				n.send(relaywire.Message{Op: relaywire.TunnelClose, ID: m.ID})
			case relaywire.Close:
				n.send(relaywire.Message{Op: relaywire.Close})
				return
			}
		}
	}, func(config iris.Config) {
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		tunnel, err := client.Tunnel(bg, "slow")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		for err == nil {
			err = client.Publish(ctx, "topic", make([]byte, chunk))
		}
		ctx, cancel = context.WithTimeout(bg, time.Second)
		defer cancel()
		wants(t, "send while the node does not read", tunnel.Send(ctx, make([]byte, chunk)), iris.ErrTimeout)
		ctx, cancel = context.WithTimeout(bg, time.Hour)
		defer cancel()
		if err := tunnel.Send(ctx, make([]byte, chunk)); err != nil {
			t.Errorf("send once the node reads again: error %v", err)
		}
		tunnel.Close()
	})
}

// A node that takes a client and drops it again at once is not attached to in a
// loop without a pause.
func TestReconnectingToNodeThatHangsUpPauses(t *testing.T) {
	var attached atomic.Int32
	withFake(t, func(n *fake) {
		n.accept()
		if attached.Add(1) > 1000 {
			n.idle() // so that the test ends
		}
	}, func(config iris.Config) {
		config.Reconnect = true
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := attached.Load(); n < 10 || n > 50 {
			t.Errorf("attached %d times in a minute", n)
		}
		client.Close()
	})
}

// The Timeout of the Config bounds what a request without a deadline waits for
// before it is sent, too.
func TestRequestWithoutDeadlineTimesOutWhereverItWaits(t *testing.T) {
	within := func(what string, f func() error) {
		t.Helper()
		start := time.Now()
		wants(t, what, f(), iris.ErrTimeout)
		if took := time.Since(start); took != time.Second {
			t.Errorf("%s took %v, wanted a second", what, took)
		}
	}
	request := func(c *iris.Client) func() error {
		return func() error { _, err := c.Request(bg, "echo", nil); return err }
	}
	var attached atomic.Int32
	withFake(t, func(n *fake) {
		if attached.Add(1) == 1 {
			n.accept()
		}
	}, func(config iris.Config) {
		config.Reconnect, config.Timeout = true, time.Second
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		within("request without a node", request(client))
		within("tunnel without a node", func() error { _, err := client.Tunnel(bg, "echo"); return err })
		client.Close()
	})
	withFake(t, func(n *fake) { n.accept(); n.idle() }, func(config iris.Config) {
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		client.Close()
		config.Timeout = time.Second
		if client, err = config.Connect(bg); err != nil {
			t.Fatal(err)
		}
		long, cancel := context.WithTimeout(bg, time.Hour)
		defer cancel()
		for range 4096 {
			if err := client.RequestAsync(long, "echo", nil, func([]byte, error) {}); err != nil {
				t.Fatal(err)
			}
		}
		within("request beyond what the node keeps", request(client))
		client.Close()
	})
	withFake(t, func(n *fake) { n.accept(); time.Sleep(time.Hour) }, func(config iris.Config) {
		config.Timeout = time.Second
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		for err == nil {
			err = client.Publish(ctx, "topic", make([]byte, 64<<10))
		}
		within("request to a node that does not read", request(client))
		client.Close()
	})
}

// A request that waited before it was sent has the rest of its time only.
func TestTimeWaitedCountsForTheNode(t *testing.T) {
	var attached atomic.Int32
	withFake(t, func(n *fake) {
		switch attached.Add(1) {
		case 1:
			n.accept()
		case 2:
			time.Sleep(4 * time.Second)
			n.accept()
			if m := n.next(); m.Timeout < 5000 || m.Timeout > 6100 {
				t.Errorf("a request with 10 s that waited for 4 s has %d ms at the node", m.Timeout)
			}
		default:
			n.accept()
			n.idle()
		}
	}, func(config iris.Config) {
		config.Reconnect, config.Timeout = true, 10*time.Second
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		client.Request(bg, "echo", nil)
		client.Close()
	})
}

// Close starts no further handler after a loss either.
func TestCloseAfterLossStartsNoHandler(t *testing.T) {
	withFake(t, func(n *fake) {
		n.accept()
		for range 2 {
			if m := n.next(); m.Op == relaywire.Request {
				n.send(relaywire.Message{Op: relaywire.Reply, ID: m.ID, TimedOut: true})
			}
		}
		for range 10 {
			n.send(relaywire.Message{Op: relaywire.Publish, Name: []byte("topic"), Body: []byte("x")})
		}
	}, func(config iris.Config) {
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		var started atomic.Int32
		if _, err := client.Subscribe(bg, "topic", func(context.Context, []byte) {
			started.Add(1)
			time.Sleep(time.Second)
		}); err != nil {
			t.Fatal(err)
		}
		<-client.Done()
		synctest.Wait()
		client.Close()
		before := started.Load()
		time.Sleep(time.Minute)
		if n := started.Load() - before; n != 0 {
			t.Errorf("%d handlers were started after Close", n)
		}
	})
}

// A halfDead connection reads, and fails to write once it is told to.
type halfDead struct {
	net.Conn
	dead atomic.Bool
}

func (c *halfDead) Write(p []byte) (int, error) {
	if c.dead.Load() {
		return 0, errors.New("no way out")
	}
	return c.Conn.Write(p)
}

// A connection that cannot be written is lost, even if the node says nothing.
func TestFailedWriteLosesTheConnection(t *testing.T) {
	withFake(t, func(n *fake) { n.accept(); n.idle() }, func(config iris.Config) {
		var nc *halfDead
		dial := config.Dial
		config.Dial = func(ctx context.Context) (net.Conn, error) {
			inner, err := dial(ctx)
			nc = &halfDead{Conn: inner}
			return nc, err
		}
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		nc.dead.Store(true)
		client.Publish(bg, "topic", nil)
		synctest.Wait()
		wants(t, "event after a failed write", client.Publish(bg, "topic", nil), iris.ErrLost, "no way out")
		time.Sleep(time.Minute)
		select {
		case <-client.Done():
			wants(t, "Err", client.Err(), iris.ErrLost, "no way out")
		default:
			t.Error("the client does not know after a minute that it is lost")
		}
	})
}

// Messages that are small or empty take memory, too.
func TestEmptyMessagesThatWaitAreLimited(t *testing.T) {
	const events = 100_000
	withFake(t, func(n *fake) {
		n.accept()
		for range 2 {
			if m := n.next(); m.Op == relaywire.Request {
				n.send(relaywire.Message{Op: relaywire.Reply, ID: m.ID, TimedOut: true})
			}
		}
		for range events {
			n.send(relaywire.Message{Op: relaywire.Publish, Name: []byte("topic")})
		}
		n.idle()
	}, func(config iris.Config) {
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		s, err := client.SubscribeWith(bg, "topic", iris.Limits{Memory: 1000}, func(context.Context, []byte) { <-release })
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if waiting := events - s.Dropped(); waiting > events/10 {
			t.Errorf("%d empty events wait where 1000 octets may", waiting)
		}
		close(release)
		synctest.Wait()
		if got := client.Stats().Events; got.Handled+got.Dropped != events {
			t.Errorf("counted %+v of %d events", got, events)
		}
		client.Close()
	})
}

// A wrapped connection has a Write of its own, and a socket's other methods.
type wrapped struct {
	*net.TCPConn
	written atomic.Int64
}

func (c *wrapped) Write(p []byte) (int, error) {
	c.written.Add(int64(len(p)))
	return c.TCPConn.Write(p)
}

func TestWrappedSocketIsWrittenThroughItsWrite(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	read := make(chan int64, 1)
	go func() {
		far, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer far.Close()
		counted := &counting{Conn: far}
		n := &fake{Conn: counted, t: t}
		n.accept()
		n.idle()
		read <- counted.read
	}()
	var nc *wrapped
	client, err := iris.Config{Dial: func(context.Context) (net.Conn, error) {
		inner, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, err
		}
		nc = &wrapped{TCPConn: inner.(*net.TCPConn)}
		return nc, nil
	}}.Connect(bg)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Publish(bg, "topic", make([]byte, 64<<10)); err != nil {
		t.Error(err)
	}
	client.Close()
	if got, want := nc.written.Load(), <-read; got != want {
		t.Errorf("%d of %d octets went through Write", got, want)
	}
}

type counting struct {
	net.Conn
	read int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read += int64(n)
	return n, err
}

// Close wakes all that wait for a message, without the node's help.
func TestTunnelCloseWakesEveryRecv(t *testing.T) {
	withFake(t, func(n *fake) {
		n.accept()
		m := n.next()
		n.send(relaywire.Message{Op: relaywire.TunnelResult, ID: m.ID, Size: relaywire.ChunkLimit})
		io.Copy(io.Discard, n)
	}, func(config iris.Config) {
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		tunnel, err := client.Tunnel(bg, "silent")
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 3)
		for range cap(failed) {
			go func() {
				_, err := tunnel.Recv(bg)
				failed <- err
			}()
		}
		synctest.Wait()
		go tunnel.Close()
		synctest.Wait()
		if n := len(failed); n != cap(failed) {
			t.Errorf("%d of %d Recv returned", n, cap(failed))
		}
		client.Close()
	})
}

// Drain waits for handlers that run even if the connection is lost meanwhile.
func TestDrainWaitsForHandlersAfterLoss(t *testing.T) {
	withFake(t, func(n *fake) {
		n.accept()
		n.send(relaywire.Message{Op: relaywire.Broadcast})
		time.Sleep(time.Second)
	}, func(config iris.Config) {
		var h finisher
		client, err := config.Register(bg, "work", &h)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := client.Drain(bg); err != nil {
			t.Error(err)
		}
		if !h.finished.Load() {
			t.Error("Drain returned while a handler was running")
		}
		time.Sleep(time.Hour)
	})
}

// A finisher takes a minute for a broadcast.
type finisher struct {
	iris.NopHandler
	finished atomic.Bool
}

func (h *finisher) HandleBroadcast(context.Context, []byte) {
	time.Sleep(time.Minute)
	h.finished.Store(true)
}

// An answer to a request that was not sent yet does not mix it up with the one
// that has its place then.
func TestAnswerBeforeItsRequestHitsNoOther(t *testing.T) {
	withFake(t, func(n *fake) {
		n.accept()
		time.Sleep(2 * time.Second)
		n.send(relaywire.Message{Op: relaywire.Reply, ID: 0})
		time.Sleep(time.Minute)
		for m := n.next(); m != nil; m = n.next() {
			switch m.Op {
			case relaywire.Request:
				n.send(relaywire.Message{Op: relaywire.Reply, ID: m.ID, Body: m.Body})
			case relaywire.Close:
				n.send(relaywire.Message{Op: relaywire.Close})
				return
			}
		}
	}, func(config iris.Config) {
		config.Timeout = time.Hour
		client, err := config.Connect(bg)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		for err == nil {
			err = client.Publish(ctx, "topic", make([]byte, 64<<10))
		}
		first := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(bg, 10*time.Second)
			defer cancel()
			_, err := client.Request(ctx, "echo", []byte("1"))
			first <- err
		}()
		time.Sleep(5 * time.Second)
		if reply, err := client.Request(bg, "echo", []byte("2")); string(reply) != "2" {
			t.Errorf("the second request was answered %q, %v", reply, err)
		}
		wants(t, "first request", <-first, iris.ErrTimeout)
	})
}

// A handler that gives up since the request's time is over answers nobody.
func TestHandlerThatGivesUpInTimeIsATimeout(t *testing.T) {
	withFake(t, func(n *fake) {
		n.accept()
		n.send(relaywire.Message{Op: relaywire.Request, Timeout: 1000})
		for m := n.next(); m != nil; m = n.next() {
			switch m.Op {
			case relaywire.Reply:
				t.Errorf("the requester is told %q", m.Body)
			case relaywire.Close:
				n.send(relaywire.Message{Op: relaywire.Close})
				return
			}
		}
	}, func(config iris.Config) {
		client, err := config.Register(bg, "late", iris.HandlerFunc(func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		client.Close()
	})
}
