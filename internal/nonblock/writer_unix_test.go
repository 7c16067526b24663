//go:build unix

package nonblock

import (
	"io"
	"net"
	"testing"
)

// pair returns the two ends of a connection over the loopback interface.
func pair(t *testing.T) (a, b net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	b, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return a, b
}

// TestWriteDoesNotWait writes to a connection that nobody reads until it takes no
// more, and finds that the other side gets just what was taken.
func TestWriteDoesNotWait(t *testing.T) {
	a, b := pair(t)
	w := New(a)
	if w == nil {
		t.Fatal("a TCP connection has no writer")
	}
	p := make([]byte, 1<<20)
	taken := 0
	for {
		n, err := w.Write(p)
		taken += n
		if err == ErrAgain {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	a.(*net.TCPConn).CloseWrite()
	if n, err := io.Copy(io.Discard, b); err != nil || int(n) != taken {
		t.Errorf("%d octets were taken and %d came, with error %v", taken, n, err)
	}
}

func TestErrorOfTheConnectionIsTold(t *testing.T) {
	a, _ := pair(t)
	w := New(a)
	if w == nil {
		t.Fatal("a TCP connection has no writer")
	}
	a.Close()
	if _, err := w.Write([]byte("x")); err == nil || err == ErrAgain {
		t.Errorf("a write to a closed connection ends with %v", err)
	}
}

func TestOtherConnectionsHaveNoWriter(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if New(a) != nil {
		t.Error("a pipe has a writer")
	}
}
