//go:build linux || darwin

package session

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

const descriptorsChild = "SESSION_TEST_DESCRIPTORS"

// A node without descriptors keeps its listener, and lets others of the network in.
func TestOutOfDescriptors(t *testing.T) {
	if os.Getenv(descriptorsChild) != "" {
		serveWithFewDescriptors(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestOutOfDescriptors$", "-test.v")
	cmd.Env = append(os.Environ(), descriptorsChild+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	said := bufio.NewScanner(stdout)
	hear := func(prefix string) string {
		for said.Scan() {
			if rest, ok := strings.CutPrefix(said.Text(), prefix); ok {
				return rest
			}
		}
		t.Fatalf("the node ended before it said %q", prefix)
		return ""
	}
	addr := hear("listens at ")

	member := identity(t, "net", 1)
	for round := range 2 {
		for range 60 { // more than it has descriptors
			if nc, err := net.Dial("tcp", addr); err == nil { // it may be closed at once
				defer nc.Close()
			}
		}
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		ctx, cancel := context.WithTimeout(t.Context(), acceptTime)
		defer cancel()
		c, err := member.Dial(ctx, nc, PurposeLink, 1, ring.ID{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		echo(t, c)
		nc.Close()
	}
	stdin.Close()
	if got := hear("refused for files: "); got == "0" {
		t.Error("it never was out of descriptors")
	}
}

// serveWithFewDescriptors echoes until standard input ends.
func serveWithFewDescriptors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	probe, err := os.Open(os.DevNull) // the lowest descriptor that is free
	if err != nil {
		t.Fatal(err)
	}
	limit := syscall.Rlimit{Cur: uint64(probe.Fd()) + 20, Max: uint64(probe.Fd()) + 20}
	probe.Close()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	g := NewGate(GateConfig{Identity: identity(t, "net", 1), Refused: NewRefusals(discard, time.Now)})
	g.Serve(l, func(c *Conn) {
		defer c.Close()
		io.Copy(c, c)
	})
	fmt.Printf("\nlistens at %v\n", l.Addr())
	io.Copy(io.Discard, os.Stdin)
	l.Close()
	g.Close()
	fmt.Printf("\nrefused for files: %d\n", g.Refused.Counts()[AcceptFiles])
}
