// Package localsock makes Unix sockets that both ends may trust: nobody but
// root and the user of the node can have put the socket where it is, and both
// ends ask the kernel which user the other is. It follows docs/security.md,
// "Local trust", for the relay's socket and the admin socket. What is spoken
// over the connections is left to others.
//
// It works on Linux and macOS. Elsewhere whatever touches the system fails
// with an error that is [errors.ErrUnsupported].
package localsock

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
)

// ErrTaken tells that a living process listens on the socket already.
var ErrTaken = errors.New("another process serves this socket: stop it or choose another path")

// Options for [Listen]. The zero value lets in root and our own user only.
type Options struct {
	// UIDs are the users let in besides root and our own. With any, the
	// socket gets mode 0666 and its directory is opened to passers (0711),
	// so that the check of the user alone decides. Directories above it that
	// are there already stay as they are: choose a path that these users can
	// reach.
	UIDs []int

	// Refused, unless nil, is called for each connection that is closed for
	// its user, with that user or with -1 where the kernel did not tell. It
	// is called by Accept and holds up the connections that follow.
	Refused func(uid int)
}

// A Listener accepts connections from the users it trusts. Its methods may be
// used concurrently.
type Listener struct {
	socket  *net.UnixListener
	lock    *os.File              // flock on PATH.lock
	uids    atomic.Pointer[[]int] // let in beside root and our own user
	refused func(uid int)
}

// Listen serves the socket at path, which must be a file system path: there
// are no abstract sockets, as they have no permissions.
//
// The directory of the socket is made when missing, with mode 0700, and so
// are those above it. It and every directory above must belong to root or to
// our user and be writable by no one else, or Listen fails and names the one
// that is not so. A sticky bit is no excuse: in /tmp anybody may make the path
// before we do. The socket has mode 0600 whatever the umask.
//
// One process at a time owns path, by a lock on the file PATH.lock that the
// kernel drops with the process; for others Listen fails with [ErrTaken]. A
// socket that a dead process left behind is replaced.
func Listen(path string, opt Options) (*Listener, error) {
	l, err := listen(path, opt)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}

func listen(path string, opt Options) (*Listener, error) {
	path, err := checkPath(path)
	if err != nil {
		return nil, err
	}
	socketMode, dirMode := modes(opt.UIDs)
	dir := filepath.Dir(path)
	if err := checkTrusted(dir, dirMode); err != nil {
		return nil, err
	}
	if err := widen(dir, dirMode&0o011); err != nil {
		return nil, err
	}

	lock, err := Lock(path + ".lock")
	if err != nil {
		return nil, err
	}
	socket, err := bind(path, socketMode)
	if err != nil {
		lock.Close()
		return nil, err
	}
	l := &Listener{socket: socket, lock: lock, refused: opt.Refused}
	l.uids.Store(&opt.UIDs)
	return l, nil
}

// modes returns those of a socket and its directory that let users in.
func modes(uids []int) (socket, dir fs.FileMode) {
	if len(uids) > 0 {
		return 0o666, 0o711
	}
	return 0o600, 0o700
}

// Trust lets in uids from now on in the place of Options.UIDs. Who is connected stays so;
// the directory stays as open as it is.
func (l *Listener) Trust(uids []int) error {
	path := l.Addr().String()
	socketMode, dirMode := modes(uids)
	if err := widen(filepath.Dir(path), dirMode&0o011); err != nil {
		return err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return err
	}
	uids = slices.Clone(uids)
	l.uids.Store(&uids)
	return nil
}

// trusts reports whether a user is let in.
func (l *Listener) trusts(uid int) bool {
	return uid == 0 || uid == os.Geteuid() || slices.Contains(*l.uids.Load(), uid)
}

// bind listens on path, over the socket of a dead process if there is one. The
// caller holds the lock.
func bind(path string, mode fs.FileMode) (*net.UnixListener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, err
	}
	// Who connects before this took effect meets the check in Accept.
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// removeStale removes the socket at path if nobody listens on it.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something that is not a socket stands there: move it away or choose another path")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return ErrTaken // by a process that does not know our lock
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("see whether the socket there is in use: %w", err)
	}
	return os.Remove(path)
}

// Accept waits for the next connection of a trusted user and returns it, a
// *net.UnixConn. Connections of others are closed and told to
// Options.Refused; they never make Accept fail.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.socket.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := PeerUID(c)
		if err == nil && l.trusts(uid) {
			return c, nil
		}
		c.Close()
		if l.refused != nil {
			l.refused(uid)
		}
	}
}

// Addr returns the address of the socket.
func (l *Listener) Addr() net.Addr { return l.socket.Addr() }

// Close stops listening, removes the socket and gives up the lock. Connections
// already accepted live on.
//
// The lock file stays for good. Were it removed, a process that had it open
// already could lock the removed file while another locks a new one, and both
// would own the path.
func (l *Listener) Close() error {
	err := l.socket.Close() // removes the socket: still under the lock
	l.lock.Close()
	return err
}

// DialTrusted connects to the socket at path. It fails unless every directory
// above it is as [Listen] wants it and the process that listens belongs to
// root or to our own user. Where there is no socket or nobody listens, the
// error is [fs.ErrNotExist] or ECONNREFUSED. It does not wait.
func DialTrusted(path string) (net.Conn, error) {
	c, err := dialTrusted(path)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", path, err)
	}
	return c, nil
}

func dialTrusted(path string) (net.Conn, error) {
	path, err := checkPath(path)
	if err != nil {
		return nil, err
	}
	if err := checkTrusted(filepath.Dir(path), 0); err != nil {
		return nil, err
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	uid, err := PeerUID(c)
	if err != nil {
		c.Close()
		return nil, err
	}
	if self := os.Geteuid(); uid != 0 && uid != self {
		c.Close()
		return nil, fmt.Errorf("uid %d serves this socket, not root or uid %d: do not trust it, and choose another path", uid, self)
	}
	return c, nil
}

// PeerUID returns the user of the process at the other end of conn, a
// connection of this package: the one that dialled, or that began to listen.
// The kernel noted it at that moment. With an error the user is -1.
func PeerUID(conn net.Conn) (int, error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return -1, fmt.Errorf("the user of a %T is not known", conn)
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return -1, err
	}
	uid := -1
	var peerErr error
	if err := raw.Control(func(fd uintptr) { uid, peerErr = peerUID(int(fd)) }); err != nil {
		return -1, err
	}
	if peerErr != nil {
		return -1, fmt.Errorf("ask for the user of the other end: %w", peerErr)
	}
	return uid, nil
}

// checkPath returns path made absolute, as a socket address can hold it. An
// absolute path also never is the name of an abstract socket.
func checkPath(path string) (string, error) {
	if err := supported(); err != nil {
		return "", err
	}
	if path == "" {
		return "", errors.New("no path: name a file")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if len(path) > maxPath {
		return "", fmt.Errorf("the path has %d octets and this system allows %d: choose a shorter one", len(path), maxPath)
	}
	return path, nil
}
