package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/project-iris/iris/internal/admin"
)

// A Place has the program iris and the sockets of nodes.
type Place struct {
	dir string
}

// NewPlace makes a place and builds iris there, from the module in the directory
// source, as a release has it.
func NewPlace(ctx context.Context, source string) (*Place, error) {
	if err := removeStale(); err != nil {
		return nil, err
	}
	// Nodes put no socket where temporary files go: others can change that.
	dir, err := os.MkdirTemp("/run", fmt.Sprintf("%s%d-", placePrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	p := &Place{dir}
	cmd := exec.CommandContext(ctx, "go", "build", "-C", source, "-trimpath", "-ldflags", "-s -w", "-o", p.Iris(), "./cmd/iris")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		p.Close()
		return nil, fmt.Errorf("build iris: %w: %s", err, output)
	}
	return p, nil
}

const placePrefix = "iris-hosts-" // then the process, and something that tells its places apart

// removeStale removes the places of processes that ended without doing so.
func removeStale() error {
	dirs, err := filepath.Glob(filepath.Join("/run", placePrefix+"*"))
	for _, dir := range dirs {
		var pid int
		if _, problem := fmt.Sscanf(filepath.Base(dir), placePrefix+"%d-", &pid); problem != nil {
			continue
		}
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}
	return err
}

// Iris returns the path of the program.
func (p *Place) Iris() string { return filepath.Join(p.dir, "iris") }

// Path returns the path of a file in the place.
func (p *Place) Path(name string) string { return filepath.Join(p.dir, name) }

// Close removes the place.
func (p *Place) Close() error { return os.RemoveAll(p.dir) }

// A Node is an iris node on a host.
type Node struct {
	*Process
	Host   *Host
	Socket string // where programs attach, from any host
	state  string
}

// StartNode starts a node on the host, with flags in addition to those for its
// sockets, and waits until programs can attach.
func (p *Place) StartNode(ctx context.Context, h *Host, flags ...string) (*Node, error) {
	n := &Node{Host: h, Socket: p.Path(h.Name + ".sock"), state: p.Path(h.Name)}
	args := append([]string{"node", "--socket", n.Socket, "--state", n.state}, flags...)
	var err error
	if n.Process, err = h.Start(exec.Command(p.Iris(), args...)); err != nil {
		return nil, err
	}
	if _, err := n.Line(ctx, "programs attach here"); err != nil {
		return nil, err
	}
	return n, nil
}

// Status asks the node for its status and stores that in the value status points
// to, as encoding/json does.
func (n *Node) Status(ctx context.Context, status any) error {
	dirs, err := filepath.Glob(filepath.Join(n.state, "*"))
	if err == nil && len(dirs) != 1 {
		err = fmt.Errorf("%s holds %s instead of one directory", n.state, strings.Join(dirs, " and "))
	}
	if err != nil {
		return err
	}
	return admin.Status(ctx, dirs[0], status)
}
