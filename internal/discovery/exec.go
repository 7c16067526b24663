package discovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/project-iris/iris/internal/shell"
)

const (
	execLeast  = 30 * time.Second // between runs
	execMost   = 5 * time.Minute
	execOutput = 64 << 10
	execWords  = 200             // of standard error
	execBye    = time.Second / 2 // for those that a command leaves behind, who may hold its output
)

// Exec is the Source of the nodes whose addresses a command of the operator writes: IP,
// IP:PORT, HOST or HOST:PORT, one a line. Lines that are empty, and what is behind a #,
// count for nothing. The command is over when Run is, with all that it started, but for
// those who left its process group.
type Exec struct {
	Command  string // of the shell
	Label    string // what the log and the status call it
	Port     uint16 // where nodes listen, most likely
	Log      *slog.Logger
	Alone    func() bool
	Resolver *net.Resolver // nil: that of this host

	trouble
}

// Name implements Source.
func (e *Exec) Name() string { return e.Label }

// Run implements Source.
func (e *Exec) Run(ctx context.Context, found func(Found)) error {
	return (&looker{
		trouble: &e.trouble,
		by:      e.Name(), log: e.Log,
		isAlone: e.Alone, least: execLeast, alone: execLeast, most: execMost,
		look: e.look,
	}).run(ctx, found)
}

func (e *Exec) look(ctx context.Context) ([]netip.AddrPort, error) {
	output, failed := e.output(ctx)
	var hosts []string
	for line := range strings.Lines(string(output)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			hosts = append(hosts, line)
		}
	}
	addrs, err := lookupAll(ctx, e.Resolver, hosts, e.Port)
	return addrs, errors.Join(failed, err)
}

// output runs the command and returns the lines that it wrote in time.
func (e *Exec) output(ctx context.Context) ([]byte, error) {
	out, words := &shell.Capture{Most: execOutput, Full: errors.New("too much")}, &shell.Capture{Most: execWords}
	cmd := shell.Command(ctx, e.Command)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, words, execBye
	err := cmd.Run()
	shell.Sweep(cmd)
	written := out.Bytes()
	written = written[:bytes.LastIndexByte(written, '\n')+1]
	switch {
	case err == nil:
		return out.Bytes(), nil // the last line may lack its end
	case ctx.Err() != nil:
		err = fmt.Errorf("the command takes longer than %v, and was ended", lookLimit)
	case len(out.Bytes()) == execOutput:
		err = fmt.Errorf("the command writes more than %d KiB, and the rest is left out", execOutput>>10)
	default:
		err = fmt.Errorf("the command fails: %w", err)
	}
	if text := bytes.TrimSpace(words.Bytes()); len(text) > 0 {
		err = fmt.Errorf("%w; it says %q", err, text)
	}
	return written, err
}

var (
	_ Source   = (*Exec)(nil)
	_ troubled = (*Exec)(nil)
)
