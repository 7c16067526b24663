package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/project-iris/iris/node"
)

// look asks the node of the host for its status, and the kernel for what it uses.
func (h *host) look(ctx context.Context) (u usage, s *node.Status, err error) {
	h.mu.Lock()
	n := h.node
	h.mu.Unlock()
	if n == nil {
		return u, nil, errNoNode
	}
	u = usage{Node: n.name, At: now()}
	s = new(node.Status)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := n.Status(ctx, s); err != nil {
		return u, nil, err
	}
	u.Goroutines, u.Payload, u.Gaps = s.Goroutines, s.Memory.Used, s.Dropped["messages declared lost to subscribers here"]
	if u.Files, err = descriptors(n.PID()); err != nil {
		return u, nil, err
	}
	u.Resident, err = resident(n.PID())
	return u, s, err
}

var errNoNode = errors.New("there is no node")

func descriptors(pid int) (int, error) {
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(names), err
}

// resident returns how many octets of memory a process has.
func resident(pid int) (octets int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &octets); err == nil {
			return octets << 10, nil
		}
	}
	return 0, fmt.Errorf("%w: VmRSS of process %d", fs.ErrNotExist, pid)
}
