package conform

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// Strict holds timed cases to the limits of the libraries' own tests over
// sockets, too. Without it they are widened there, so that a busy machine does
// not fail them. Set it before cases run.
var Strict bool

// A scene is one performance of an expectation: the programs that take part and
// its goroutines.
type scene struct {
	t    testing.TB
	node *Node
	lib  *library
	tag  string         // what the texts of this scene, and no others, start with
	work sync.WaitGroup // goroutines

	mu       sync.Mutex
	cast     int // programs that took the stage
	programs []Program
	conns    []net.Conn
	ending   bool // what breaks now is no failure
	failures int
	began    time.Time // of the phase; the playing goroutine's own
}

// scenes counts them, so that messages left from one are told from another's.
var scenes atomic.Int64

// watch is how long a scene may take before everything is torn down, so that
// who waits for what never comes says so.
const watch = time.Minute

// perform plays an expectation from its start to its end, when every program is
// closed.
func (l *library) perform(t testing.TB, n *Node, e expectation) {
	s := &scene{t: t, node: n, lib: l, tag: fmt.Sprintf("%s/%s, scene %d, ", l.name, e.name, scenes.Add(1)), began: time.Now()}
	defer s.end()
	start := time.Now()
	dog := time.AfterFunc(s.within(watch), func() {
		s.errorf("scene not over after %v", s.within(watch))
		s.abort()
	})
	defer dog.Stop()
	e.play(s)
	s.close()
	if took := time.Since(start); l.total > 0 && took > s.within(l.total) {
		t.Fatalf("took %v, the limit is %v", took, s.within(l.total))
	}
	s.work.Wait() // what still goes wrong is no less a failure
}

// exact reports whether limits are those of the libraries.
func (s *scene) exact() bool { return s.node.virtual || Strict }

// within is how long what is wanted within d may take here.
func (s *scene) within(d time.Duration) time.Duration {
	if s.exact() {
		return d
	}
	return s.node.slack(d)
}

// stretch is by how much to multiply the times of a script of which the
// shortest that matters is unit.
func (s *scene) stretch(unit time.Duration) time.Duration {
	const coarse = 400 * time.Millisecond // what a busy machine can tell apart
	if s.exact() {
		return 1
	}
	return max(1, (coarse+unit-1)/unit)
}

// settle lets pass the time d within which subscriptions are effective, and over
// sockets what a busy machine may take.
func (s *scene) settle(d time.Duration) {
	if !s.exact() {
		d = max(d, 100*ms)
	}
	time.Sleep(d)
}

// many is how many messages to send where the library's own test sends n only
// to measure: over sockets fewer will do, unless limits are exact.
func (s *scene) many(n int) int {
	if s.exact() {
		return n
	}
	return n / 5
}

// attach attaches a program, as a service of the library's cluster if svc is
// given, with the node's Attach function or else a raw one. The service gets
// handlers that fail the scene in place of those it has not. In V0 there are only
// services.
func (s *scene) attach(svc *Service) (p Program, err error) {
	if svc == nil && s.lib.dialect == relaywire.V0 {
		svc = new(Service)
	}
	s.mu.Lock()
	s.cast++
	name := fmt.Sprintf("client %d", s.cast)
	if svc != nil {
		name = fmt.Sprintf("service %d", s.cast)
	}
	s.mu.Unlock()
	if svc != nil {
		svc.Cluster = s.lib.cluster
		s.expectNoMore(name, svc)
	}
	if s.node.Attach == nil {
		p, err = s.attachRaw(name, svc)
	} else {
		p, err = s.node.Attach(func() (net.Conn, error) { return s.tap(name) }, svc)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not attached: %w", name, err)
	}
	s.mu.Lock()
	s.programs = append(s.programs, p)
	s.mu.Unlock()
	s.work.Go(func() {
		<-p.Done()
		if err := p.Err(); err != ErrClosed {
			s.errorf("%s ended: %v", name, err)
		}
	})
	return p, nil
}

// expectNoMore gives svc, the service called name, the handlers it has not.
func (s *scene) expectNoMore(name string, svc *Service) {
	if svc.Broadcast == nil {
		svc.Broadcast = func(body string) { s.errorf("%s: stray broadcast %.60q", name, body) }
	}
	if svc.Request == nil {
		svc.Request = func(r *Call) {
			s.errorf("%s: stray request %.60q", name, r.Body)
			r.Fail("stray request")
		}
	}
	if svc.Tunnel == nil {
		svc.Tunnel = func(t Tunnel) {
			s.errorf("%s: stray tunnel", name)
			t.Close()
		}
	}
}

// dial opens a connection to the node.
func (s *scene) dial() (net.Conn, error) {
	conn, err := s.node.Dial()
	if err == nil {
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
	}
	return conn, err
}

// errorf fails the case, unless what happens is only its end. Of many failures
// the first few are told.
func (s *scene) errorf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return
	}
	if s.failures++; s.failures <= 10 {
		s.t.Errorf(format, args...)
	}
}

// close closes all programs, at once and in order.
func (s *scene) close() {
	s.t.Helper()
	s.all(len(s.programs), func(i int) error { return s.programs[i].Close() })
	s.phase("closing")
}

// end breaks off what is still there and waits for all goroutines.
func (s *scene) end() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.abort()
	for _, p := range s.programs {
		p.Close()
	}
	s.work.Wait()
}

// abort closes the connections.
func (s *scene) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
}

// phase ends a phase of the scene, which has a limit in some libraries.
func (s *scene) phase(what string) {
	s.t.Helper()
	now := time.Now()
	if took := now.Sub(s.began); s.lib.phase > 0 && took > s.within(s.lib.phase) {
		s.t.Fatalf("%s took %v, the limit is %v", what, took, s.within(s.lib.phase))
	}
	s.began = now
}

// all runs do(0) to do(n-1) at once, waits for them and ends the case if any
// failed.
func (s *scene) all(n int, do func(i int) error) {
	s.t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	failed := 0
	for _, err := range errs {
		if err == nil {
			continue
		}
		if failed++; failed <= 3 {
			s.t.Error(err)
		}
	}
	if failed > 0 {
		s.t.Fatalf("%d of %d failed", failed, n)
	}
}

// must ends the case on an error.
func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// join attaches a program, see attach.
func (s *scene) join(svc *Service) Program {
	s.t.Helper()
	p, err := s.attach(svc)
	s.must(err)
	return p
}

// once puts v into c, which has room for all that is to come, and fails the case
// if there is none.
func once[T any](s *scene, c chan T, v T) {
	select {
	case c <- v:
	default:
		s.errorf("came once too often: %v", v)
	}
}

// text is what sender i says the jth time.
func (s *scene) text(i, j int) string {
	return fmt.Sprintf("%-*s", s.lib.octets, fmt.Sprintf("%ssender %d, message %d", s.tag, i, j))
}

// A tally counts messages of which every one is to come exactly once.
type tally struct {
	s       *scene
	arrived chan struct{} // pulsed

	mu   sync.Mutex
	seen map[string]bool
}

func (s *scene) tally() *tally {
	return &tally{s: s, arrived: make(chan struct{}, 1), seen: make(map[string]bool)}
}

func (y *tally) add(body string) {
	if !strings.HasPrefix(body, y.s.tag) {
		y.s.errorf("stray message %q", body)
		return
	}
	y.mu.Lock()
	again := y.seen[body]
	y.seen[body] = true
	y.mu.Unlock()
	if again {
		y.s.errorf("came twice: %q", body)
	}
	pulse(y.arrived)
}

func (y *tally) count() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.seen)
}

// wait returns once n messages have come, or with an error when none did for too
// long.
func (y *tally) wait(n int) error {
	gap := y.s.within(y.s.lib.gap)
	timer := time.NewTimer(gap)
	defer timer.Stop()
	for y.count() < n {
		select {
		case <-y.arrived:
			timer.Reset(gap)
		case <-timer.C:
			return fmt.Errorf("%d of %d messages came, then none for %v", y.count(), n, gap)
		}
	}
	return nil
}
