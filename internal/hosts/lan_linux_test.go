package hosts

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// echo serves one connection to a host: what comes is sent back.
func echo(t *testing.T, h *Host, address string) net.Listener {
	t.Helper()
	l, err := h.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		if nc, err := l.Accept(); err == nil {
			io.Copy(nc, nc)
			nc.Close()
		}
	}()
	return l
}

func dial(t *testing.T, h *Host, address string) net.Conn {
	t.Helper()
	nc, err := h.Dial(withLimit(t), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(limit))
	return nc
}

// exchange sends text and waits for it to come back.
func exchange(nc net.Conn, text string) error {
	if _, err := io.WriteString(nc, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(nc, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("%q came back as %q", text, got)
	}
	return nil
}

func TestEveryHostReachesEveryOther(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 3)
	for _, to := range l.Hosts {
		for _, from := range l.Hosts {
			for _, ip := range []string{to.IPv4.String(), to.IPv6.String()} {
				address := echo(t, to, net.JoinHostPort(ip, "0")).Addr().String()
				if err := exchange(dial(t, from, address), "hello"); err != nil {
					t.Errorf("%s to %s: %v", from.Name, address, err)
				}
			}
		}
	}
}

func TestMulticastReachesEveryOtherHost(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 3)
	for _, group := range []*net.UDPAddr{
		{IP: net.IPv4(239, 192, 141, 42), Port: 14142},
		{IP: net.ParseIP("ff02::4952:4953"), Port: 14142, Zone: "eth0"},
	} {
		var ears []*net.UDPConn
		for _, h := range l.Hosts[1:] {
			if err := h.Do(func() error {
				eth0, err := net.InterfaceByName("eth0")
				if err != nil {
					return err
				}
				ear, err := net.ListenMulticastUDP("udp", eth0, group)
				ears = append(ears, ear)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		heard, sent := make(chan struct{}), make(chan error, 1)
		go func() {
			sent <- l.Hosts[0].Do(func() error {
				eth0, err := net.InterfaceByName("eth0")
				if err != nil {
					return err
				}
				nc, err := net.ListenUDP("udp", nil)
				if err != nil {
					return err
				}
				defer nc.Close()
				raw, err := nc.SyscallConn()
				if err != nil {
					return err
				}
				raw.Control(func(fd uintptr) {
					unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(eth0.Index)})
				})
				for { // a port of the bridge may take a moment until it forwards
					if _, err = nc.WriteToUDP([]byte("hello"), group); err != nil {
						return err
					}
					select {
					case <-heard:
						return nil
					case <-time.After(20 * time.Millisecond):
					}
				}
			})
		}()
		for i, ear := range ears {
			ear.SetReadDeadline(time.Now().Add(limit))
			buf := make([]byte, 16)
			n, err := ear.Read(buf)
			if err != nil || string(buf[:n]) != "hello" {
				t.Errorf("%s got %q, %v for %v", l.Hosts[1+i].Name, buf[:n], err, group)
			}
			ear.Close()
		}
		close(heard)
		if err := <-sent; err != nil {
			t.Errorf("send to %v: %v", group, err)
		}
	}
}

// What is lost while a host is cut off comes later, as TCP has it.
func TestCutHostIsSilentUntilMended(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cut  func(*Host) error
	}{{"cut", (*Host).Cut}, {"unplugged", (*Host).Unplug}} {
		t.Run(c.name, func(t *testing.T) {
			l := newLAN(t, 2)
			from, to := l.Hosts[0], l.Hosts[1]
			nc := dial(t, from, echo(t, to, to.IPv4.String()+":0").Addr().String())
			if err := exchange(nc, "before"); err != nil {
				t.Fatal(err)
			}
			if err := c.cut(to); err != nil {
				t.Fatal(err)
			}
			nc.SetDeadline(time.Now().Add(100 * time.Millisecond))
			if err := exchange(nc, "during"); err == nil {
				t.Error("a message came back from a host that was cut off")
			}
			if err := to.Mend(); err != nil {
				t.Fatal(err)
			}
			nc.SetDeadline(time.Now().Add(limit))
			if _, err := io.ReadFull(nc, make([]byte, len("during"))); err != nil {
				t.Errorf("after the host was mended: %v", err)
			}
		})
	}
}

func TestCaptureHasWhatCrossesTheBridge(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	c, err := l.Capture(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	from, to := l.Hosts[0], l.Hosts[1]
	nc := dial(t, from, echo(t, to, to.IPv4.String()+":0").Addr().String())
	text := "a marker in clear text" + strings.Repeat("x", 1<<20)
	if err := exchange(nc, text); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if !c.Contains("a marker in clear text") || c.Contains("another one") {
		t.Error("the capture does not tell what was sent from what was not")
	}
	if both := 2 * int64(len(text)); c.Octets() < both || c.Octets() > both+both/4 {
		t.Errorf("captured %d octets of an exchange of %d each way", c.Octets(), len(text))
	}
}

func TestInterfacesOfTheMachineStayAsTheyAre(t *testing.T) {
	names := func() (all []string) {
		interfaces, err := net.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range interfaces {
			all = append(all, i.Name)
		}
		return all
	}
	before := names()
	newLAN(t, 3)
	if during := names(); !slices.Equal(during, before) {
		t.Errorf("there are the interfaces %v with hosts, %v without", during, before)
	}
}

func TestProcessIsFrozenThawedAndKilled(t *testing.T) {
	t.Parallel()
	h := newLAN(t, 1).Hosts[0]
	p, err := h.Start(exec.Command("sh", "-c", "ip -o -4 addr; echo shown; while :; do :; done"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Line(withLimit(t), "shown"); err != nil || !strings.Contains(p.Output(), h.IPv4.String()) {
		t.Errorf("%v; the addresses of %s are %q", err, h.Name, p.Output())
	}
	for _, step := range []struct {
		change func() error
		state  string
	}{{p.Freeze, "T"}, {p.Thaw, "R"}} {
		if err := step.change(); err != nil {
			t.Error(err)
		}
		for end := time.Now().Add(limit); state(t, p) != step.state; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("the process has state %s, want %s", state(t, p), step.state)
			}
		}
	}
	p.Kill()
	if _, err := p.Line(withLimit(t), "no such line"); err == nil {
		t.Error("found a line that was not written")
	}
}

// state returns the letter that the kernel has for the state of p.
func state(t *testing.T, p *Process) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return rest[:1]
}

// orphansVariable has a process of the test make hosts and wait for its end.
const orphansVariable = "IRIS_HOSTS_ORPHANS"

func makeOrphans() error {
	l, err := New(1)
	if err != nil {
		return err
	}
	p, err := l.Hosts[0].Start(exec.Command("sleep", "1000"))
	if err != nil {
		return err
	}
	fmt.Println(p.PID())
	select {}
}

func TestKilledTestLeavesNoProcess(t *testing.T) {
	newLAN(t, 0) // or skip
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), orphansVariable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(limit.Milliseconds())); n != 1 {
		t.Errorf("process %d runs on after the one that started it was killed (%v)", pid, err)
	}
}
