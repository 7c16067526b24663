package iris

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/project-iris/iris/internal/relaywire"
)

// dial opens a connection to the relay at addr, see Config.Address.
func dial(ctx context.Context, addr string, log *slog.Logger) (net.Conn, error) {
	switch {
	case strings.HasPrefix(addr, "/"):
		return dialUnix(ctx, addr)
	case strings.Contains(addr, ":"):
		return dialTCP(ctx, addr)
	}
	port := relaywire.DefaultPort
	if addr != "" {
		n, err := strconv.ParseUint(addr, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("address %q is none: give a port, HOST:PORT or the path of a Unix socket", addr)
		}
		port = int(n)
	}
	return dialHost(ctx, port, log)
}

// dialHost connects to the node of this host with its relay on port.
func dialHost(ctx context.Context, port int, log *slog.Logger) (net.Conn, error) {
	if path := relaywire.SocketPath(port, os.Getenv, os.Geteuid()); path != "" && socketsTrusted {
		nc, err := dialUnix(ctx, path)
		if err == nil {
			return nc, nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrUntrusted) && !errors.Is(err, fs.ErrPermission) {
			return nil, err // that another user has put a socket there is no reason to try TCP
		}
		if !errors.Is(err, ErrNoNode) {
			log.Warn("the Unix socket of the node is not used, TCP is", "error", err)
		}
	}
	nc, err := dialTCP(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil || ctx.Err() != nil {
		return nc, err
	}
	if nc, other := dialTCP(ctx, net.JoinHostPort("::1", strconv.Itoa(port))); other == nil {
		return nc, nil
	}
	return nil, err
}

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	switch {
	case err == nil:
		return nc, nil // with TCP_NODELAY, as always in Go
	case ctx.Err() != nil:
		return nil, fmt.Errorf("connect to %s: %w", addr, contextError(ctx))
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf(`%w: nobody listens on %s: start one with "iris node --dev", or give the address of one that runs`, ErrNoNode, addr)
	}
	return nil, fmt.Errorf("connect: %w", err)
}

// unixBuffer is how many octets the system is asked to hold on a Unix socket. The
// default is less than three chunks of a tunnel; TCP's buffers grow by themselves.
const unixBuffer = 1 << 20

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	if !socketsTrusted {
		return nil, fmt.Errorf("connect to %s: this system does not tell who serves a Unix socket: give a port or HOST:PORT", path)
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, fmt.Errorf("connect to %s: %w", path, contextError(ctx))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf(`%w: nobody serves %s: start one with "iris node --dev", or give the address of one that runs`, ErrNoNode, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: %w for %s: use the TCP port, run as the node's user, or start the node with --socket-uid %d", ErrUntrusted, fs.ErrPermission, path, os.Geteuid())
	default:
		return nil, fmt.Errorf("connect: %w", err)
	}
	uid, err := peerUID(nc.(*net.UnixConn))
	switch self := os.Geteuid(); {
	case err != nil:
		err = fmt.Errorf("connect to %s: ask who serves it: %w", path, err)
	case uid != 0 && uid != self:
		err = fmt.Errorf("%w: uid %d serves %s, not root or uid %d: use the TCP port, or the socket of a node that root or this user runs", ErrUntrusted, uid, path, self)
	default:
		nc.(*net.UnixConn).SetWriteBuffer(unixBuffer) // without it, it is only slower
		return nc, nil
	}
	nc.Close()
	return nil, err
}

// contextError returns the error of a context that is done: ErrTimeout where it
// is for the time.
func contextError(ctx context.Context) error {
	if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return ErrTimeout
}
