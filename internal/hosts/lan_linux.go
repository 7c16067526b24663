package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrUnable is the error of New where this system or user cannot make hosts.
var ErrUnable = errors.New("hosts are network namespaces, which takes root (in a container: one that is privileged) and the command ip of iproute2")

// A LAN is a bridge with hosts on it. Its methods and those of its hosts may be
// called concurrently, but for Close.
type LAN struct {
	Hosts  []*Host
	bridge *thread
	split  bool // there is a second bridge
}

// New makes a LAN of n hosts, up to 250.
func New(n int) (l *LAN, err error) {
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnable, err)
	}
	l = &LAN{}
	if l.bridge, err = newThread(); err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w: %w", ErrUnable, err)
		}
		return nil, err
	}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	// A bridge that snoops on multicast takes a while to learn who listens.
	if err := l.bridge.ip("link add br0 type bridge mcast_snooping 0", "link set br0 up"); err != nil {
		return nil, err
	}
	for i := range n {
		if err := l.add(i + 1); err != nil {
			return nil, fmt.Errorf("host %d: %w", i+1, err)
		}
	}
	return l, nil
}

// add adds host number i.
func (l *LAN) add(i int) error {
	t, err := newThread()
	if err != nil {
		return err
	}
	h := &Host{
		Name:   fmt.Sprintf("host%d", i),
		IPv4:   netip.AddrFrom4([4]byte{10, 77, 0, byte(i)}),
		IPv6:   netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x77, 15: byte(i)}),
		thread: t,
		bridge: l.bridge,
		port:   fmt.Sprintf("port%d", i),
	}
	l.Hosts = append(l.Hosts, h)
	if err := t.do(usableAtOnce); err != nil {
		return err
	}
	if err := l.bridge.ip(
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", h.port, t.id),
		fmt.Sprintf("link set %s master br0 up", h.port),
	); err != nil {
		return err
	}
	return t.ip(
		"link set lo up",
		fmt.Sprintf("addr add %v/24 dev eth0", h.IPv4),
		fmt.Sprintf("addr add %v/64 dev eth0", h.IPv6),
		"link set eth0 up",
	)
}

// usableAtOnce has interfaces of this namespace use their IPv6 addresses without
// a second of looking for others that have them.
func usableAtOnce() error {
	for name, value := range map[string]string{"accept_dad": "0", "disable_ipv6": "0"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/default/"+name, []byte(value), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ip runs commands of ip in the namespace of t.
func (t *thread) ip(commands ...string) error {
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n"))
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := t.do(cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}

// Close kills what still runs on the hosts and removes them.
func (l *LAN) Close() {
	for _, h := range l.Hosts {
		h.close()
	}
	l.bridge.end()
}

// A Host is a network namespace with an interface on the bridge, eth0.
type Host struct {
	Name       string
	IPv4, IPv6 netip.Addr

	thread    *thread
	bridge    *thread
	port      string // the other end of eth0
	processes processes
}

// Do calls f on a thread in the namespace of the host: what f opens or starts is
// on it, but not what goroutines do that f starts. There is one such thread.
func (h *Host) Do(f func() error) error { return h.thread.do(f) }

// Dial connects from the host to an address without names to look up.
func (h *Host) Dial(ctx context.Context, network, address string) (nc net.Conn, err error) {
	err = h.Do(func() error {
		var d net.Dialer
		nc, err = d.DialContext(ctx, network, address)
		return err
	})
	return nc, err
}

// Listen listens on the host at an address without names to look up.
func (h *Host) Listen(network, address string) (l net.Listener, err error) {
	err = h.Do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// Cut takes the host off the bridge. Nobody is told: what is sent is lost.
func (h *Host) Cut() error { return h.bridge.ip("link set " + h.port + " nomaster") }

// Unplug has the host see that its cable is out.
func (h *Host) Unplug() error { return h.bridge.ip("link set " + h.port + " down") }

// Mend ends what Cut, Unplug and Split did.
func (h *Host) Mend() error { return h.bridge.ip("link set " + h.port + " master br0 up") }

func (h *Host) close() {
	h.processes.kill()
	h.thread.end()
}
