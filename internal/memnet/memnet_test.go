package memnet_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"github.com/project-iris/iris/internal/memnet"
)

// connect returns the two ends of a new connection.
func connect(t testing.TB) (near, far *memnet.Conn) {
	t.Helper()
	l := memnet.Listen("test")
	a, err := l.Dial()
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return a.(*memnet.Conn), b.(*memnet.Conn)
}

func write(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("Write of %d bytes = %d, %v", len(s), n, err)
	}
}

// fill writes until the other end holds as much as it can.
func fill(t testing.TB, c net.Conn) {
	t.Helper()
	write(t, c, string(make([]byte, memnet.Buffer)))
}

func wantRead(t testing.TB, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); string(got) != want || err != nil {
		t.Fatalf("read %q (%d bytes), %v; want %q", got[:n], n, err, want)
	}
}

func wantReadError(t testing.TB, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Fatalf("Read = %d, %v; want 0, %v", n, err, want)
	}
}

func wantWriteError(t testing.TB, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, want) {
		t.Fatalf("Write = %d, %v; want 0, %v", n, err, want)
	}
}

// outcome is what a call in another goroutine returned.
type outcome struct {
	n   int
	err error
}

// start runs call in a goroutine and returns once it blocks; the channel then
// yields its outcome. Only for use in a bubble.
func start(t testing.TB, call func([]byte) (int, error), p []byte) <-chan outcome {
	t.Helper()
	done := make(chan outcome, 1)
	go func() {
		n, err := call(p)
		done <- outcome{n, err}
	}()
	synctest.Wait()
	if len(done) != 0 {
		t.Fatalf("call returned %+v; want it to block", <-done)
	}
	return done
}

func wantOutcome(t testing.TB, done <-chan outcome, n int, err error) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-done:
		if got.n != n || !errors.Is(got.err, err) {
			t.Fatalf("blocked call = %d, %v; want %d, %v", got.n, got.err, n, err)
		}
	default:
		t.Fatal("call still blocks")
	}
}

func TestConnKeepsTheContractOfNetConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		near, far := connect(t)
		return near, far, func() { near.Close(); far.Close() }, nil
	})
}

func TestBytesArriveUnchangedAcrossTheRing(t *testing.T) {
	// Lengths that share no factor with the buffer make the ring wrap and grow
	// at every kind of place.
	near, far := connect(t)
	next := byte(0)
	expect := byte(0)
	inFlight := 0
	p := make([]byte, memnet.Buffer)
	for round := range 400 {
		n := min(1+round*61, memnet.Buffer-inFlight)
		for i := range p[:n] {
			p[i] = next
			next += 7
		}
		if m, err := near.Write(p[:n]); m != n || err != nil {
			t.Fatalf("Write of %d bytes with %d unread = %d, %v", n, inFlight, m, err)
		}
		inFlight += n
		m, err := far.Read(p[:1+round*53])
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		for i, b := range p[:m] {
			if b != expect {
				t.Fatalf("round %d: byte %d of the read is %d, want %d", round, i, b, expect)
			}
			expect += 7
		}
		inFlight -= m
	}
}

func TestWriteBlocksWhileTheBufferIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := connect(t)
		fill(t, near)
		done := start(t, near.Write, []byte("ab"))
		wantRead(t, far, "\x00")
		synctest.Wait()
		if len(done) != 0 {
			t.Fatal("Write of two bytes returned with room for one")
		}
		wantRead(t, far, "\x00")
		wantOutcome(t, done, 2, nil)
	})
}

func TestWritesAreNotSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := connect(t)
		fill(t, near)
		first := start(t, near.Write, bytes.Repeat([]byte("a"), 100))
		second := start(t, near.Write, bytes.Repeat([]byte("b"), 100))
		wantRead(t, far, string(make([]byte, 50)))
		synctest.Wait()
		wantRead(t, far, string(make([]byte, memnet.Buffer-50)))
		wantRead(t, far, string(bytes.Repeat([]byte("a"), 100)))
		wantRead(t, far, string(bytes.Repeat([]byte("b"), 100)))
		wantOutcome(t, first, 100, nil)
		wantOutcome(t, second, 100, nil)
	})
}

func TestDeadlinesWakeBlockedCallsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := connect(t)
		begin := time.Now()
		near.SetReadDeadline(begin.Add(time.Hour))
		_, err := near.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Hour {
			t.Fatalf("Read = %v after %v; want a timeout after 1h", err, time.Since(begin))
		}
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v (%T) is not a net.Error with Timeout", err, err)
		}

		begin = time.Now()
		near.SetWriteDeadline(begin.Add(time.Minute))
		n, err := near.Write(make([]byte, memnet.Buffer+1))
		if n != memnet.Buffer || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Fatalf("Write = %d, %v after %v; want %d and a timeout after 1m", n, err, time.Since(begin), memnet.Buffer)
		}
	})
}

func TestMovedDeadlineCountsForBlockedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := connect(t)
		near.SetReadDeadline(time.Now().Add(time.Second))
		read := start(t, near.Read, make([]byte, 1))
		near.SetReadDeadline(time.Now().Add(time.Hour))
		time.Sleep(time.Minute)
		if len(read) != 0 {
			t.Fatalf("Read = %+v at the deadline that was taken back", <-read)
		}
		near.SetReadDeadline(time.Unix(1, 0))
		wantOutcome(t, read, 0, os.ErrDeadlineExceeded)

		near.SetReadDeadline(time.Time{})
		read = start(t, near.Read, make([]byte, 1))
		time.Sleep(24 * time.Hour)
		if len(read) != 0 {
			t.Fatalf("Read = %+v without a deadline", <-read)
		}
		near.Close()
		wantOutcome(t, read, 0, net.ErrClosed)
	})
}

func TestHalfClosedConnectionStillCarriesAnswers(t *testing.T) {
	near, far := connect(t)
	write(t, near, "question")
	if err := near.CloseWrite(); err != nil {
		t.Fatalf("CloseWrite: %v", err)
	}
	wantWriteError(t, near, syscall.EPIPE)
	wantRead(t, far, "question")
	wantReadError(t, far, io.EOF)
	write(t, far, "answer")
	wantRead(t, near, "answer")
}

func TestCloseLetsThePeerReadTheRest(t *testing.T) {
	near, far := connect(t)
	write(t, near, "rest")
	near.Close()
	wantWriteError(t, far, syscall.EPIPE)
	wantRead(t, far, "rest")
	wantReadError(t, far, io.EOF)
}

func TestCloseWithUnreadInputResets(t *testing.T) {
	near, far := connect(t)
	write(t, near, "lost")
	write(t, far, "unread")
	near.Close()
	wantReadError(t, far, syscall.ECONNRESET)
	wantReadError(t, far, syscall.ECONNRESET)
	wantWriteError(t, far, syscall.ECONNRESET)
}

func TestCloseWakesCallsAtBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := connect(t)
		fill(t, near)
		localRead := start(t, near.Read, make([]byte, 1))
		localWrite := start(t, near.Write, []byte("x"))
		near.Close()
		wantOutcome(t, localRead, 0, net.ErrClosed)
		wantOutcome(t, localWrite, 0, net.ErrClosed)
		if n, err := io.Copy(io.Discard, far); n != memnet.Buffer || err != nil {
			t.Errorf("the peer read %d, %v; want %d, <nil>", n, err, memnet.Buffer)
		}

		near, far = connect(t)
		peerRead := start(t, far.Read, make([]byte, 1))
		near.Close()
		wantOutcome(t, peerRead, 0, io.EOF)

		near, far = connect(t)
		fill(t, far)
		peerRead = start(t, far.Read, make([]byte, 1))
		peerWrite := start(t, far.Write, []byte("x"))
		near.Close()
		wantOutcome(t, peerRead, 0, syscall.ECONNRESET)
		wantOutcome(t, peerWrite, 0, syscall.ECONNRESET)
	})
}

func TestClosedConnectionRefusesEveryCall(t *testing.T) {
	near, far := connect(t)
	near.Close()
	wantReadError(t, near, net.ErrClosed)
	wantWriteError(t, near, net.ErrClosed)
	for name, err := range map[string]error{
		"Close":            near.Close(),
		"CloseWrite":       near.CloseWrite(),
		"SetDeadline":      near.SetDeadline(time.Time{}),
		"SetReadDeadline":  near.SetReadDeadline(time.Time{}),
		"SetWriteDeadline": near.SetWriteDeadline(time.Time{}),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s = %v, want %v", name, err, net.ErrClosed)
		}
	}
	if err := far.Close(); err != nil {
		t.Errorf("Close of the other end: %v", err)
	}
}

func TestClosedListenerEndsAcceptAndDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("test")
		accepted := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			accepted <- err
		}()
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("blocked Accept = %v, want %v", err, net.ErrClosed)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept = %v, want %v", err, net.ErrClosed)
		}
		if _, err := l.Dial(); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Dial = %v, want %v", err, syscall.ECONNREFUSED)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close = %v, want %v", err, net.ErrClosed)
		}
	})
}

func TestListenerCloseResetsWhatNobodyAccepted(t *testing.T) {
	l := memnet.Listen("test")
	waiting, err := l.Dial()
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	l.Close()
	wantReadError(t, waiting, syscall.ECONNRESET)
}

func TestDialWaitsWhenTheBacklogIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("test")
		for range memnet.Backlog {
			if _, err := l.Dial(); err != nil {
				t.Fatalf("Dial: %v", err)
			}
		}
		dial := func([]byte) (int, error) {
			_, err := l.Dial()
			return 0, err
		}
		late := start(t, dial, nil)
		if _, err := l.Accept(); err != nil {
			t.Fatalf("Accept: %v", err)
		}
		wantOutcome(t, late, 0, nil)
		late = start(t, dial, nil)
		l.Close()
		wantOutcome(t, late, 0, syscall.ECONNREFUSED)
	})
}

func TestAddressesTellConnectionsApart(t *testing.T) {
	l := memnet.Listen("somewhere")
	a, _ := l.Dial()
	b, _ := l.Dial()
	far, _ := l.Accept()
	if got, want := a.RemoteAddr(), l.Addr(); got != want {
		t.Errorf("RemoteAddr of the dialler = %v, want %v", got, want)
	}
	if got, want := far.RemoteAddr(), a.LocalAddr(); got != want {
		t.Errorf("RemoteAddr of the accepted end = %v, want %v", got, want)
	}
	if a.LocalAddr() == b.LocalAddr() {
		t.Errorf("two diallers share the address %v", a.LocalAddr())
	}
}

func TestSteadyTrafficDoesNotAllocate(t *testing.T) {
	near, far := connect(t)
	p := make([]byte, 4096)
	deadline := time.Now().Add(time.Hour)
	allocs := testing.AllocsPerRun(100, func() {
		near.SetWriteDeadline(deadline)
		far.SetReadDeadline(deadline)
		near.Write(p)
		far.Read(p)
	})
	if allocs != 0 {
		t.Errorf("a write and a read allocate %v times, want 0", allocs)
	}
}

func TestIdleConnectionsAreSmall(t *testing.T) {
	const conns = 64
	l := memnet.Listen("test")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range conns {
		c, _ := l.Dial()
		l.Accept()
		c.Write([]byte("hello"))
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / conns; got > 4096 {
		t.Errorf("a connection that carried one short message takes %d bytes, want at most 4096", got)
	}
}
