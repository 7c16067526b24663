package link

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSystemTakesLittleAndGivesUpInTime(t *testing.T) {
	key := netKey(t)
	a, b := newCounter(), newCounter()
	ma, _, stopA := tcpNode(t, key, a)
	mb, addr, stopB := tcpNode(t, key, b)
	defer stopA()
	defer stopB()
	ma.Dial(mb.Identity.ID(), []netip.AddrPort{addr})
	for _, l := range []*Link{<-a.up, <-b.up} {
		l.mu.Lock()
		nc := l.control.out.NetConn()
		l.mu.Unlock()
		raw, err := nc.(interface{ NetConn() net.Conn }).NetConn().(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); n != unsentLimit || err != nil {
				t.Errorf("dialled %v: TCP_NOTSENT_LOWAT is %d, %v", l.Dialled(), n, err)
			}
			if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); n != int(silenceLimit.Milliseconds()) || err != nil {
				t.Errorf("dialled %v: TCP_USER_TIMEOUT is %d, %v", l.Dialled(), n, err)
			}
		})
	}
}
