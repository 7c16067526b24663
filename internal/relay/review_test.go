package relay

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/nonblock"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/tunnel"
	"github.com/project-iris/iris/internal/wheel"
)

// world is a server with a control loop and timers, as small as it gets.
type world struct {
	t      testing.TB
	plane  *messaging.Plane
	server *Server
	l      *memnet.Listener

	mu     sync.Mutex
	core   *core.Core
	out    core.Output
	batch  queue.Batch
	attend chan struct{}
	tick   chan struct{}
	stop   chan struct{}
	done   sync.WaitGroup
}

func newWorld(t testing.TB, memory int64) *world {
	w := &world{
		t: t, core: core.New(time.Now(), core.Config{Limit: 100_000}), l: memnet.Listen("relay"),
		attend: make(chan struct{}, 1), tick: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	signal := func(c chan struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	w.plane = messaging.New(messaging.Config{
		Timers: wheel.NewTimers(time.Now(), func() { signal(w.tick) }),
		Budget: queue.NewBudget(memory),
		Wake:   func() { signal(w.attend) },
	})
	w.server = NewServer(Config{
		Plane: w.plane, Control: w, Tunnels: new(tunnel.Stats), Limits: relaywire.DefaultLimits,
		MaxConns: 10_000, Log: slog.New(slog.DiscardHandler),
	})
	w.server.Serve(w.l)
	w.done.Go(func() {
		var b queue.Batch
		timer := time.NewTimer(time.Millisecond)
		defer timer.Stop()
		for {
			select {
			case <-w.attend:
				w.turn(func(time.Time) {})
				continue
			case <-timer.C:
			case <-w.tick:
			case <-w.stop:
				return
			}
			now := time.Now()
			w.plane.Timers.Advance(now, func(owner any) { owner.(messaging.Expirer).Expire(now, &b) })
			b.Flush()
			if at, ok := w.plane.Timers.Next(); ok {
				timer.Reset(time.Until(at))
			}
		}
	})
	return w
}

// turn is a turn of the control loop.
func (w *world) turn(f func(now time.Time)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	f(now)
	w.plane.Apply(now, &w.batch, w.out.Changes)
	w.out.Changes = nil
	w.plane.Attend(now, &w.batch, &messaging.Asks{})
	w.batch.Flush()
}

func (w *world) Attach(c *messaging.Conn) (err error) {
	w.turn(func(now time.Time) {
		if err = w.core.Attach(now, c.ID, c.Cluster, &w.out); err == nil {
			w.plane.Register(c)
		}
	})
	return err
}

func (w *world) Subscribe(c *messaging.Conn, topic []byte) (fresh bool, err error) {
	w.turn(func(now time.Time) { fresh, err = w.core.Subscribe(now, c.ID, string(topic), &w.out) })
	return fresh, err
}

func (w *world) Unsubscribe(c *messaging.Conn, topic []byte) (had bool, err error) {
	w.turn(func(now time.Time) { had = w.core.Unsubscribe(now, c.ID, string(topic), &w.out) })
	return had, nil
}

func (w *world) Detach(c *messaging.Conn, _ string) {
	w.turn(func(now time.Time) { w.core.Detach(now, c.ID, &w.out) })
	w.turn(func(time.Time) { w.plane.Forget(c) })
}

func (w *world) close() {
	w.l.Close()
	w.server.Close("node terminating")
	close(w.stop)
	w.done.Wait()
}

// program speaks the bare protocol.
type program struct {
	t       testing.TB
	nc      net.Conn
	dialect relaywire.Dialect
	buf     []byte
}

func (w *world) dial() *program {
	nc, err := w.l.Dial()
	if err != nil {
		w.t.Fatal(err)
	}
	return &program{t: w.t, nc: nc}
}

func (w *world) attach(cluster string) *program {
	w.t.Helper()
	p := w.dial()
	p.send(relaywire.Message{Op: relaywire.Init, Magic: []byte(relaywire.ClientMagic), Version: []byte(relaywire.Version), Name: []byte(cluster)})
	if m, err := p.read(); err != nil || m.Op != relaywire.Accept {
		w.t.Fatalf("attach: came %v, %v", m.Op, err)
	}
	return p
}

func (p *program) send(m relaywire.Message) error {
	_, err := p.nc.Write(p.dialect.AppendToNode(nil, &m))
	return err
}

func (p *program) read() (relaywire.Message, error) {
	for {
		var m relaywire.Message
		n, err := p.dialect.ParseToClient(&relaywire.DefaultLimits, p.buf, &m)
		if err == nil {
			p.buf = p.buf[n:]
			return m, nil
		}
		if err != relaywire.ErrShort {
			return m, err
		}
		in := make([]byte, 64<<10)
		n, err = p.nc.Read(in)
		if n == 0 && err != nil {
			return m, err
		}
		p.buf = append(p.buf, in[:n]...)
	}
}

// TestServiceTakesMoreParkedRequestsThanItsQueue starts the first member of a
// cluster for which 96 MiB of requests wait. It reads all the time.
func TestServiceTakesMoreParkedRequestsThanItsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<30)
		defer w.close()
		const clients, each = 6, 16
		var all []*program
		for range clients {
			p := w.attach("")
			all = append(all, p)
			for i := range each {
				p.send(relaywire.Message{Op: relaywire.Request, ID: uint64(i), Name: []byte("late"), Body: make([]byte, 1<<20-1024), Timeout: 60_000})
			}
		}
		synctest.Wait()
		service := w.attach("late")
		got := 0
		for got < clients*each {
			m, err := service.read()
			if err != nil || m.Op == relaywire.Close {
				t.Fatalf("the service, which reads all the time, was dropped after %d of %d requests: %q, %v", got, clients*each, m.Body, err)
			}
			got++
		}
		for _, p := range all {
			p.nc.Close()
		}
		service.nc.Close()
	})
}

// TestSurvivorTakesOverBacklog resets one of two members that both have requests
// to read; the other, which reads, is to get what the first did not.
func TestSurvivorTakesOverBacklog(t *testing.T) {
	for name, each := range map[string]int{"small": 10, "more than a queue": 40} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1<<30)
				defer w.close()
				a, b, client := w.attach("pair"), w.attach("pair"), w.attach("")
				defer client.nc.Close()
				defer b.nc.Close()
				for i := range 2 * each {
					client.send(relaywire.Message{Op: relaywire.Request, ID: uint64(i), Name: []byte("pair"), Body: make([]byte, 1<<20-100), Timeout: 60_000})
				}
				synctest.Wait()
				a.nc.Close()
				synctest.Wait()
				b.nc.SetReadDeadline(time.Now().Add(5 * time.Second))
				for n := range 2*each - 1 { // a was being written one
					m, err := b.read()
					if err != nil || m.Op != relaywire.Request {
						t.Fatalf("the other member got %d of %d requests, then %v %q (%v)", n, 2*each-1, m.Op, m.Body, err)
					}
				}
			})
		})
	}
}

// TestLetGoRequestsHoldNoNames has requests wait whose clusters have long names.
func TestLetGoRequestsHoldNoNames(t *testing.T) {
	w := newWorld(t, 256<<20)
	defer w.close()
	p := w.attach("")
	defer p.nc.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	name := []byte(strings.Repeat("n", 64<<10))
	for i := range 4000 {
		name[0], name[1] = byte(i), byte(i>>8)
		if err := p.send(relaywire.Message{Op: relaywire.Request, ID: uint64(i), Name: name, Timeout: 1 << 30}); err != nil {
			t.Fatal(err)
		}
	}
	p.send(relaywire.Message{Op: relaywire.Request, ID: 9999, Timeout: 0})
	if m, err := p.read(); err != nil || m.ID != 9999 {
		t.Fatalf("came %+v, %v", m, err)
	}
	w.turn(func(time.Time) {})
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("held %d MiB, charged %d MiB", held>>20, w.plane.Budget.Used()>>20)
	if held > 2*w.plane.Budget.Used()+(16<<20) {
		t.Errorf("one program's waiting requests hold %d MiB, and %d MiB are charged", held>>20, w.plane.Budget.Used()>>20)
	}
}

// TestUnreadEventsCostWhatTheyAre has a subscriber that does not read 16 MiB of
// events.
func TestUnreadEventsCostWhatTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<30)
		defer w.close()
		s, p := w.attach(""), w.attach("")
		s.send(relaywire.Message{Op: relaywire.Subscribe, Name: []byte("news")})
		synctest.Wait()
		for range 1024 {
			p.send(relaywire.Message{Op: relaywire.Publish, Name: []byte("news"), Body: make([]byte, 16<<10)})
		}
		synctest.Wait()
		if used := w.plane.Budget.Used(); used > 32<<20 {
			t.Errorf("16 MiB of unread events are charged %d MiB", used>>20)
		}
		s.nc.Close()
		p.nc.Close()
	})
}

// TestHogsLeaveRoomForOthers has programs that subscribe and do not read, and one
// that publishes to them for as long as it is let; then others ask and answer.
func TestHogsLeaveRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 128<<20)
		defer w.close()
		service, client := w.attach("echo"), w.attach("")
		defer service.nc.Close()
		defer client.nc.Close()
		topics := []string{"a", "b", "c", "d"}
		for _, topic := range topics {
			s := w.attach("")
			defer s.nc.Close()
			s.send(relaywire.Message{Op: relaywire.Subscribe, Name: []byte(topic)})
		}
		synctest.Wait()
		p := w.attach("")
		defer p.nc.Close()
		for i := range 40 {
			if p.send(relaywire.Message{Op: relaywire.Publish, Name: []byte(topics[i%len(topics)]), Body: make([]byte, 4<<20-64<<10)}) != nil {
				break
			}
		}
		synctest.Wait()
		t.Logf("free: %d KiB of %d MiB", (w.plane.Budget.Limit()-w.plane.Budget.Used())>>10, w.plane.Budget.Limit()>>20)
		client.send(relaywire.Message{Op: relaywire.Request, ID: 1, Name: []byte("echo"), Body: make([]byte, 6<<20), Timeout: 1000})
		service.nc.SetReadDeadline(time.Now().Add(2 * time.Second))
		if m, err := service.read(); err != nil || m.Op != relaywire.Request {
			t.Errorf("service: came %v %q, %v", m.Op, m.Body, err)
		}
		if m, err := client.read(); err != nil || m.Op == relaywire.Close {
			t.Errorf("client: came %v %q, %v", m.Op, m.Body, err)
		}
	})
}

// TestAcceptIsNeverLeftOut attaches while the memory budget is used up.
func TestAcceptIsNeverLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 64<<20)
		defer w.close()
		w.plane.Budget.Force(64 << 20)
		p := w.dial()
		p.send(relaywire.Message{Op: relaywire.Init, Magic: []byte(relaywire.ClientMagic), Version: []byte(relaywire.Version), Name: []byte("c")})
		synctest.Wait()
		w.plane.Budget.Give(64 << 20)
		b := w.attach("")
		b.send(relaywire.Message{Op: relaywire.Broadcast, Name: []byte("c"), Body: []byte("hello")})
		m, err := p.read()
		if err == nil && m.Op != relaywire.Accept || err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("the first message is %v %q (%v), wanted Accept or the end", m.Op, m.Body, err)
		}
		p.nc.Close()
		b.nc.Close()
	})
}

// TestCloseDoesNotWaitForHandshakes closes the server between the accept of a
// silent connection and the start of its handshake.
func TestCloseDoesNotWaitForHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 64<<20)
		l := memnet.Listen("silent")
		defer l.Close()
		near, err := l.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer near.Close()
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c := newConn(w.server, far)
		w.server.add(c)
		began := time.Now()
		c.stop(ending{cause: stopped, reason: "node terminating"}) // what Close does first
		go c.serve()
		w.close()
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("Close took %v", d)
		}
	})
}

// TestIdleProgramHoldsNoBuffer attaches programs that then say nothing, on the
// transport of systems without non-blocking reads.
func TestIdleProgramHoldsNoBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 256<<20)
		defer w.close()
		var all []*program
		for range 100 {
			all = append(all, w.attach(""))
		}
		synctest.Wait()
		if used := w.plane.Budget.Used(); used > 100*8<<10 {
			t.Errorf("an idle program is charged %d octets", used/100)
		}
		for _, p := range all {
			p.nc.Close()
		}
	})
}

// pieces is a transport that has data, and counts the sizes of buffers it saw.
type pieces struct {
	data  []byte
	sizes []int
}

func (p *pieces) read(in *input) (int, error) {
	b := in.ready(largeInput)
	if n := len(p.sizes); n == 0 || p.sizes[n-1] != len(in.buf) {
		p.sizes = append(p.sizes, len(in.buf))
	}
	n := copy(b, p.data)
	p.data = p.data[n:]
	return n, nil
}
func (p *pieces) tryWrite([]byte) (int, error) { return 0, nonblock.ErrAgain }

// TestLargeRequestIsCopiedByDoublingOnly reads a request whose last field, the
// timeout, comes after its body.
func TestLargeRequestIsCopiedByDoublingOnly(t *testing.T) {
	m := relaywire.Message{Op: relaywire.Request, Name: []byte("c"), Body: make([]byte, 32<<20), Timeout: 60_000}
	p := &pieces{data: m.AppendToNode(nil)}
	in := input{budget: queue.NewBudget(1 << 30)}
	limits := relaywire.DefaultLimits
	for {
		n, err := limits.ParseToNode(in.bytes(), &m)
		if err == nil {
			break
		}
		if err := in.fill(p, n); err != nil {
			t.Fatal(err)
		}
	}
	for i, size := range p.sizes[1:] {
		if size < p.sizes[i]*5/4 && p.sizes[i] > 16<<20 {
			t.Errorf("a buffer of %d octets was copied to one of %d", p.sizes[i], size)
		}
	}
}
