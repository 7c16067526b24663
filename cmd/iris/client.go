package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/node"
)

// clientFlags are the flags of every command that attaches to a node.
type clientFlags struct {
	address string
	port    port
	timeout span
	json    bool
}

// complete makes cmd, which has flags of its own already, a command that
// attaches to a node: it adds the flags and runs run. What --json does is told
// by jsonHelp; where that is empty there is no such flag.
func (o *clientFlags) complete(cmd *cobra.Command, jsonHelp string, run func(*cobra.Command, []string) error) *cobra.Command {
	o.port, o.timeout = node.DefaultPort, span(10*time.Second)
	f := cmd.Flags()
	f.SortFlags = false
	if jsonHelp != "" {
		f.BoolVar(&o.json, "json", false, jsonHelp+"; an error as one with \"error\" and \"code\"")
	}
	f.Var(&o.timeout, "timeout", "how long to wait for an answer")
	f.Var(&o.port, "port", "TCP port of the node, which leads to its Unix socket too")
	f.StringVar(&o.address, "address", "", "`ADDRESS` of the node instead: HOST:PORT, or the path of its Unix socket")
	nameEnvironment(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.timeout == 0 {
			return usageError{errors.New("nothing is answered within no time: give --timeout a longer one")}
		}
		err := run(cmd, args)
		if errors.Is(err, context.Canceled) {
			return nil // a signal ended it: see untilSignal
		}
		if err != nil && o.json && exitStatus(err) != statusUsage {
			err = errors.Join(err, writeJSON(cmd.OutOrStdout(), map[string]any{"error": errorText(err), "code": exitStatus(err)}))
		}
		return err
	}
	return cmd
}

// config returns how to attach. What was typed goes before the environment, and
// there an address before a socket before a port.
func (o *clientFlags) config(cmd *cobra.Command) (iris.Config, error) {
	c := iris.Config{
		Timeout: time.Duration(o.timeout),
		Log:     slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	address, port := cmd.Flags().Changed("address"), cmd.Flags().Changed("port")
	socket := os.Getenv("IRIS_SOCKET")
	switch {
	case address && port:
		return c, usageError{errors.New("--address and --port both say where the node is: leave out one")}
	case address, o.address != "" && !port:
		if !strings.ContainsAny(o.address, ":/") {
			return c, usageError{fmt.Errorf("%q is no address: give HOST:PORT or the path of a Unix socket, or --port", o.address)}
		}
		if c.Address = o.address; !strings.Contains(o.address, ":") {
			c.Address = absolute(o.address)
		}
	case socket != "" && socket != none && !port:
		c.Address = absolute(socket)
	case o.port == 0:
		return c, usageError{errors.New("no node is found at port 0: name its own with --port")}
	case socket == none:
		c.Address = "localhost:" + o.port.String()
	default:
		c.Address = o.port.String()
	}
	return c, nil
}

// untilSignal has SIGINT and SIGTERM end the context of cmd, until stop is called.
// A command that its context ends has done what it was to do.
func untilSignal(cmd *cobra.Command) (stop context.CancelFunc) {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	cmd.SetContext(ctx)
	return stop
}

// withTimeout returns the context for one answer.
func (o *clientFlags) withTimeout(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), time.Duration(o.timeout))
}

// connect attaches as a client within ctx.
func (o *clientFlags) connect(ctx context.Context, cmd *cobra.Command) (*iris.Client, error) {
	c, err := o.config(cmd)
	if err != nil {
		return nil, err
	}
	return c.Connect(ctx)
}

// oneName accepts one argument, the name of an object.
func oneName(object string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fmt.Errorf("name the %s", object)
		case len(args) > 1:
			return fmt.Errorf("unexpected argument %q", args[1])
		case object == "cluster" && args[0] == "":
			return errors.New("the name of a cluster is not empty")
		}
		return nil
	}
}

// nameAndData accepts the name of an object and DATA.
func nameAndData(object string) cobra.PositionalArgs {
	one := oneName(object)
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 2 {
			return fmt.Errorf("unexpected argument %q: put data with spaces in quotes", args[2])
		}
		return one(cmd, args[:min(1, len(args))])
	}
}

// maxBody is the largest body that is sent.
var maxBody = relaywire.DefaultLimits.Body

// readData returns the body that args, which follow the name, ask to send: an
// argument or standard input.
func readData(cmd *cobra.Command, args []string) ([]byte, error) {
	if len(args) > 0 && args[0] != "-" {
		return []byte(args[0]), nil
	}
	in := cmd.InOrStdin()
	if isTerminal(in) {
		fmt.Fprintln(cmd.ErrOrStderr(), "reading what to send from the terminal: Ctrl-D ends it")
	}
	return io.ReadAll(io.LimitReader(in, int64(maxBody)+1)) // more than that is refused
}

// isTerminal tells whether stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// writeJSON writes v as one line.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// addText adds data to an object of JSON, as key where it is text, else encoded
// as key_base64.
func addText(object map[string]any, key string, data []byte) {
	if utf8.Valid(data) {
		object[key] = string(data)
	} else {
		object[key+"_base64"] = data
	}
}

// A printer writes messages to standard output as they come.
type printer struct {
	object map[string]any // of JSON, which each message is added to as key; nil: plain
	key    string
	raw    bool // nothing between messages

	mu       sync.Mutex
	w        io.Writer
	terminal bool
}

// newPrinter makes a printer of messages called key. The name of where they come
// from is the object's.
func newPrinter(cmd *cobra.Command, asJSON bool, key, object, name string) *printer {
	p := &printer{key: key, w: cmd.OutOrStdout()}
	p.terminal = isTerminal(p.w)
	if asJSON {
		p.object = map[string]any{}
		addText(p.object, object, []byte(name))
	}
	return p
}

// print writes one message.
func (p *printer) print(data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.object != nil:
		delete(p.object, p.key)
		delete(p.object, p.key+"_base64")
		addText(p.object, p.key, data)
		return writeJSON(p.w, p.object)
	case p.raw:
		_, err := p.w.Write(data)
		return err
	case p.terminal:
		data = []byte(visible(string(data)))
	}
	_, err := p.w.Write(append(data[:len(data):len(data)], '\n'))
	return err
}

// ended returns why a client ended that nobody closed.
func ended(c *iris.Client) error { return cmp.Or(c.Err(), iris.ErrLost) }
