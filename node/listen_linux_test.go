package node

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSquattedFamilyIsFatal has somebody else listen on one family only.
func TestSquattedFamilyIsFatal(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if isMissing(err) {
			continue // then nobody can squat there
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		n, err := New(Config{Dev: true, Port: l.Addr().(*net.TCPAddr).Port})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Start(); err == nil {
			n.Close()
			t.Errorf("a node started beside a squatter on %v", l.Addr())
		} else if !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "--port") {
			t.Errorf("squatter on %v: the error says %q", l.Addr(), err)
		}
	}
}

// TestMissingFamilyIsNoError starts a node on a host without IPv6: a network
// namespace of its own, which takes root to make.
func TestMissingFamilyIsNoError(t *testing.T) {
	if os.Getenv("IRIS_TEST_NO_IPV6") != "" {
		withoutIPv6(t)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("makes a network namespace: run it as root")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestMissingFamilyIsNoError$")
	cmd.Env = append(os.Environ(), "IRIS_TEST_NO_IPV6=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func withoutIPv6(t *testing.T) {
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{Dev: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatalf("a node does not start without IPv6: %v", err)
	}
	defer n.Close()
	if len(n.addrs) != 1 || !strings.HasPrefix(n.addrs[0], "127.0.0.1:") {
		t.Errorf("the relay serves %v, wanted 127.0.0.1 alone", n.addrs)
	}
}
