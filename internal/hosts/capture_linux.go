package hosts

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	frameMost   = 128 << 10 // octets; interfaces hand over segments of up to 64 KiB as one frame
	captureRoom = 64 << 20  // octets that may wait in the kernel for the capture
)

// A Capture keeps every frame that hosts send on the bridge, once.
type Capture struct {
	file   *os.File
	bridge int // index of its own interface, which gets copies
	limit  int64
	ended  chan error

	mu     sync.Mutex
	blocks [][]byte
	octets int64
	udp    map[uint16]int // frames with datagrams to a port
}

// Capture starts a capture that keeps up to limit octets.
func (l *LAN) Capture(limit int64) (*Capture, error) {
	c := &Capture{limit: limit, ended: make(chan error, 1), udp: make(map[uint16]int)}
	if err := l.bridge.do(c.open); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	go func() { c.ended <- c.run() }()
	return c, nil
}

func (c *Capture) open() error {
	bridge, err := net.InterfaceByName("br0")
	if err != nil {
		return err
	}
	c.bridge = bridge.Index
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, all)
	if err != nil {
		return err
	}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureRoom),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
	); err != nil {
		unix.Close(fd)
		return err
	}
	c.file = os.NewFile(uintptr(fd), "capture")
	return nil
}

// run keeps frames until the deadline for reading, and those that had come by then.
func (c *Capture) run() error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	frame := make([]byte, frameMost)
	var problem error
	take := func(fd uintptr) bool {
		for problem == nil {
			problem = c.take(int(fd), frame)
		}
		if problem == unix.EAGAIN {
			problem = nil
			return false
		}
		return true
	}
	if err := raw.Read(take); !errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.Join(err, problem)
	}
	err = raw.Control(func(fd uintptr) { take(fd) })
	return errors.Join(err, problem)
}

// take keeps the next frame.
func (c *Capture) take(fd int, frame []byte) error {
	n, from, err := unix.Recvfrom(fd, frame, 0)
	if err != nil {
		return err
	}
	if from, ok := from.(*unix.SockaddrLinklayer); ok && from.Ifindex != c.bridge {
		c.keep(frame[:n])
	}
	return nil
}

// keep adds a frame to the last block, or to a new one if it has no room there.
func (c *Capture) keep(frame []byte) {
	const blockSize = 1 << 20
	c.mu.Lock()
	defer c.mu.Unlock()
	c.octets += int64(len(frame))
	if port, ok := udpPort(frame); ok {
		c.udp[port]++
	}
	if c.octets > c.limit {
		return // Stop tells
	}
	last := len(c.blocks) - 1
	if last < 0 || len(c.blocks[last])+len(frame) > blockSize {
		c.blocks = append(c.blocks, make([]byte, 0, blockSize))
		last++
	}
	c.blocks[last] = append(c.blocks[last], frame...)
}

// Stop ends the capture. The error tells whether it missed something.
func (c *Capture) Stop() error {
	defer c.file.Close()
	err := c.file.SetReadDeadline(time.Unix(1, 0))
	if err := errors.Join(err, <-c.ended); err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	stats, err := unix.GetsockoptTpacketStats(int(c.file.Fd()), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	switch {
	case err != nil:
		return fmt.Errorf("capture: %w", err)
	case stats.Drops > 0:
		return fmt.Errorf("capture: %d frames of %d came too fast", stats.Drops, stats.Packets)
	case c.Octets() > c.limit:
		return fmt.Errorf("capture: the hosts sent %d octets, and %d were to be kept", c.Octets(), c.limit)
	}
	return nil
}

// Octets returns how many octets the hosts have sent, with all headers.
func (c *Capture) Octets() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.octets
}

// UDP returns how many datagrams the hosts have sent to a port.
func (c *Capture) UDP(port uint16) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.udp[port]
}

// udpPort returns the port that a frame with a datagram is for.
func udpPort(frame []byte) (port uint16, ok bool) {
	const ethernet, header4, header6 = 14, 20, 40
	at := 0
	switch {
	case len(frame) < ethernet+header4:
	case frame[12] == 8 && frame[13] == 0 && frame[ethernet+9] == unix.IPPROTO_UDP:
		at = ethernet + int(frame[ethernet]&15)*4
	case frame[12] == 0x86 && frame[13] == 0xdd && frame[ethernet+6] == unix.IPPROTO_UDP:
		at = ethernet + header6
	}
	if at == 0 || len(frame) < at+4 {
		return 0, false
	}
	return binary.BigEndian.Uint16(frame[at+2:]), true
}

// Contains tells whether a frame has text in it.
func (c *Capture) Contains(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.blocks {
		if bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}
