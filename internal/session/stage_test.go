package session

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
)

// sockets returns two nodes' ends of a connection over the loopback interface; wrap
// is what the second sees the system through.
func sockets(t *testing.T, wrap func(net.Conn) net.Conn) (near, far *Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, b := identity(t, "test", 1), identity(t, "test", 1)
	accepted := make(chan *Conn, 1)
	go func() {
		defer close(accepted)
		nc, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := io.ReadFull(nc, make([]byte, knockSize)); err != nil {
			t.Error(err)
		}
		c, err := b.accept(context.Background(), wrap(nc), PurposeLink)
		if err != nil {
			t.Error(err)
			return
		}
		accepted <- c
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err = a.Dial(context.Background(), nc, PurposeLink, 1, b.ID())
	far = <-accepted
	if err != nil || far == nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.NetConn().Close(); far.NetConn().Close() })
	return near, far
}

func plain(nc net.Conn) net.Conn { return nc }

// TestTryWriteDoesNotWait writes to a node that does not read: until the system takes
// no more without waiting, and then the rest. All of it arrives in order.
func TestTryWriteDoesNotWait(t *testing.T) {
	near, far := sockets(t, plain)
	if runtime.GOOS == "windows" {
		t.Skip("there nothing is written without waiting")
	}
	if !near.CanTry() {
		t.Fatal("a TCP connection cannot be tried")
	}
	random := rand.New(rand.NewPCG(1, 1))
	var sent bytes.Buffer
	for all := true; all; {
		p := make([]byte, 1+random.IntN(64<<10))
		for i := range p {
			p[i] = byte(random.Uint32())
		}
		sent.Write(p)
		var err error
		if all, err = near.TryWrite(p); err != nil {
			t.Fatal(err)
		}
	}
	sent.WriteString("the end")
	go func() {
		if err := near.Finish(); err != nil {
			t.Error(err)
		}
		near.Write([]byte("the end"))
		near.CloseWrite()
	}()
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, sent.Bytes()) {
		t.Errorf("of %d octets %d came, with error %v", sent.Len(), len(got), err)
	}
}

func TestTryWriteTellsOfABrokenConnection(t *testing.T) {
	near, far := sockets(t, plain)
	far.raw.Conn.(*net.TCPConn).SetLinger(0)
	far.NetConn().Close()
	near.Read(make([]byte, 1)) // it is broken from here on
	if _, err := near.TryWrite([]byte("x")); err == nil {
		t.Error("a write to a broken connection went well")
	}
}

// A crumbler lets few octets in at a time.
type crumbler struct {
	net.Conn
	random *rand.Rand
}

func (c *crumbler) Read(p []byte) (int, error) {
	return c.Conn.Read(p[:min(len(p), 1+c.random.IntN(3000))])
}

// TestRecordsComeInPieces has records torn anywhere: what they bring is the same, and
// Pending never says yes before a Read that brings nothing.
func TestRecordsComeInPieces(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		near, far := sockets(t, func(nc net.Conn) net.Conn { return &crumbler{nc, rand.New(rand.NewPCG(seed, 1))} })
		var sent []byte
		for range 30 {
			p := make([]byte, 1+random.IntN(1<<random.IntN(17)))
			for i := range p {
				p[i] = byte(random.Uint32())
			}
			sent = append(sent, p...)
		}
		go func() {
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), 1+random.IntN(60<<10))
				if _, err := near.Write(rest[:n]); err != nil {
					t.Error(err)
				}
				rest = rest[n:]
			}
			near.CloseWrite()
		}()
		var got []byte
		p := make([]byte, 10<<10)
		for {
			pending := far.Pending()
			n, err := far.Read(p)
			got = append(got, p[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil || pending && n == 0 {
				t.Fatalf("after %d octets came %d and %v, pending: %v", len(got), n, err, pending)
			}
		}
		if !bytes.Equal(got, sent) {
			t.Fatalf("seed %d: of %d octets %d came", seed, len(sent), len(got))
		}
	}
}

// TestWhatIsWrittenLeavesTogether counts how often the system is called for a long
// message.
func TestWhatIsWrittenLeavesTogether(t *testing.T) {
	var calls *called
	near, far := sockets(t, func(nc net.Conn) net.Conn { calls = &called{Conn: nc}; return calls })
	go io.Copy(io.Discard, near)
	before := calls.writes
	if _, err := far.Write(make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	if n := calls.writes - before; n != 1 {
		t.Errorf("64 KiB left in %d calls", n)
	}
}

type called struct {
	net.Conn
	writes int
}

func (c *called) Write(p []byte) (int, error) { c.writes++; return c.Conn.Write(p) }
