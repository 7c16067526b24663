package main

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/project-iris/iris"
)

// A tunnel cannot be closed in one direction only. So where the input of one end
// is over, that end still takes what comes, until nothing has come for a while
// that is called linger, and then closes the tunnel.

// chunk is the most that is sent as one message.
const chunk = 64 << 10

// carry sends in through t and writes what comes out of t to out, until the peer
// closes t, or in is over and nothing has come for linger. It leaves t open, and
// may leave a goroutine behind that reads in and writes to t: closing both ends
// it, and done is closed then.
func carry(ctx context.Context, t *iris.Tunnel, in io.Reader, out io.Writer, linger time.Duration) (done <-chan struct{}, err error) {
	sending, over := context.WithCancelCause(ctx)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		over(send(ctx, t, in))
	}()

	for {
		wait, cancel := sending, context.CancelFunc(func() {})
		lingering := sending.Err() != nil
		if lingering {
			wait, cancel = context.WithTimeout(ctx, linger)
		}
		msg, err := t.Recv(wait)
		waited := wait.Err() != nil
		cancel()
		switch {
		case err == nil:
			if _, err := out.Write(msg); err != nil {
				return sent, err
			}
		case errors.Is(err, io.EOF):
			return sent, nil
		case !waited || ctx.Err() != nil:
			return sent, err
		case lingering:
			return sent, nil
		default: // in is over
			if err := context.Cause(sending); !errors.Is(err, io.EOF) {
				return sent, err
			}
		}
	}
}

// send sends in through t. The error is io.EOF when all of it was sent.
func send(ctx context.Context, t *iris.Tunnel, in io.Reader) error {
	buf := make([]byte, chunk)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if err := t.Send(ctx, buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// splice carries between t and conn and closes both. It does not wait for conn's
// peer for longer than a moment.
func splice(ctx context.Context, t *iris.Tunnel, conn net.Conn, linger time.Duration) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	done, err := carry(ctx, t, conn, conn, linger)
	t.Close()
	if err == nil {
		// Input left unread would turn the close into a reset, which can
		// destroy the end of what was written.
		conn.(*net.TCPConn).CloseWrite()
		conn.SetReadDeadline(time.Now().Add(time.Second))
		<-done
		io.Copy(io.Discard, conn)
	}
	conn.Close()
	<-done
	return err
}
