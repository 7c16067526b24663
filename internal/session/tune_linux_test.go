package session

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSystemTakesLittleAndGivesUpInTime(t *testing.T) {
	near, far := sockets(t, plain)
	for end, c := range []*Conn{near, far} {
		raw, err := c.raw.Conn.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); n != unsentLimit || err != nil {
				t.Errorf("end %d: TCP_NOTSENT_LOWAT is %d, %v", end, n, err)
			}
			if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); n != int(silenceLimit.Milliseconds()) || err != nil {
				t.Errorf("end %d: TCP_USER_TIMEOUT is %d, %v", end, n, err)
			}
		})
	}
}
