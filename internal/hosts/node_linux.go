package hosts

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/project-iris/iris/internal/admin"
)

// A Node is an iris node on a host.
type Node struct {
	*Process
	Host   *Host
	Socket string // where programs attach, from any host
	state  string
}

// StartNode starts a node on the host and waits until programs can attach. The
// path iris is that of the program, dir where its sockets go; flags come in
// addition to those for that.
func (h *Host) StartNode(ctx context.Context, iris, dir string, flags ...string) (*Node, error) {
	n := &Node{Host: h, Socket: filepath.Join(dir, h.Name+".sock"), state: filepath.Join(dir, h.Name)}
	args := append([]string{"node", "--socket", n.Socket, "--state", n.state}, flags...)
	var err error
	if n.Process, err = h.Start(exec.Command(iris, args...)); err != nil {
		return nil, err
	}
	if _, err := n.Line(ctx, "programs attach here"); err != nil {
		return nil, err
	}
	return n, nil
}

// Status asks the node for its status and stores that in the value status points
// to, as encoding/json does.
func (n *Node) Status(ctx context.Context, status any) error { return n.Ask(ctx, "/status", status) }

// Ask asks the node over its admin socket, and stores the answer as Status does.
func (n *Node) Ask(ctx context.Context, path string, answer any) error {
	dirs, err := filepath.Glob(filepath.Join(n.state, "*"))
	if err == nil && len(dirs) != 1 {
		err = fmt.Errorf("%s holds %s instead of one directory", n.state, strings.Join(dirs, " and "))
	}
	if err != nil {
		return err
	}
	return admin.Ask(ctx, dirs[0], path, answer)
}
