package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/internal/shell"
)

// serveFlags are the flags of the serve command.
type serveFlags struct {
	clientFlags
	echo    bool
	forward string
	threads count
	queue   size
	drain   span

	work sync.WaitGroup // commands that run
}

func newServeCommand() *cobra.Command {
	o := &serveFlags{drain: span(30 * time.Second)}
	cmd := &cobra.Command{
		Use:   "serve CLUSTER {--echo | --forward HOST:PORT | -- COMMAND [ARG...]}",
		Short: "Be a member of a cluster",
		Example: `iris serve upper -- tr a-z A-Z
iris serve web --forward localhost:8080
iris serve echo --echo`,
		Long: `Registers as a member of CLUSTER and serves it in one of three ways:

  -- COMMAND   runs COMMAND for each request, with the request on its standard
               input. The reply is its standard output, as it is; with an exit
               status other than 0 it is a fault that tells the status and how
               standard error begins. The command is killed when the time of
               the request is over. IRIS_CLUSTER names the cluster.
  --forward    connects each tunnel to a TCP server, and copies both ways.
               "iris tunnel --listen" is the other end.
  --echo       answers each request with itself, and sends back each message of
               a tunnel.

Broadcasts to the cluster are written to standard output as "iris subscribe"
writes events.

SIGTERM or SIGINT ends it: it takes nothing more and finishes what it has begun. A
second signal ends it at once.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				args = args[:n]
			} else if len(args) > 1 {
				return fmt.Errorf("unexpected argument %q: a command goes after --", args[1])
			}
			return oneName("cluster")(cmd, args)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault // the command is a file, or its arguments are
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.echo, "echo", false, "answer with what was sent")
	f.StringVar(&o.forward, "forward", "", "connect tunnels to the TCP server at `HOST:PORT`")
	f.Var(&o.threads, "threads", "handle that many requests at once; default: 4 for every CPU")
	f.Var(&o.queue, "queue", "requests that may wait for that, in octets; default: 64M")
	f.Var(&o.drain, "drain", "how long to go on with what was begun, at the end")
	return o.complete(cmd, `write each broadcast as an object with "cluster" and "broadcast" (where it is no text "broadcast_base64")`, o.run)
}

func (o *serveFlags) run(cmd *cobra.Command, args []string) error {
	cluster := args[0]
	failed := make(chan error, 1) // standard output
	handler, err := o.handler(cluster, args[1:], member{
		out:    newPrinter(cmd, o.json, "broadcast", "cluster", cluster),
		failed: failed,
		talk:   log.New(cmd.ErrOrStderr(), "iris: ", 0),
	})
	if err != nil {
		return err
	}
	config, err := o.config(cmd)
	if err != nil {
		return err
	}
	config.Requests = iris.Limits{Threads: int(o.threads), Memory: int(o.queue)}

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := o.withTimeout(cmd)
	defer cancel()
	client, err := config.Register(ctx, cluster, handler)
	if err != nil {
		return err
	}
	defer o.work.Wait() // for what the end of the client ends
	defer client.Close()
	fmt.Fprintf(cmd.ErrOrStderr(), "serving %s through %s\n", printable(cluster), place(config.Address))

	select {
	case err := <-failed:
		return err
	case <-client.Done():
		return ended(client)
	case <-signals:
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "finishing what was begun: a second signal ends it at once")
	return o.finish(cmd, client, signals)
}

// handler returns what serves cluster in the one way that was chosen.
func (o *serveFlags) handler(cluster string, command []string, m member) (iris.Handler, error) {
	var ways []iris.Handler
	if o.echo {
		ways = append(ways, echo{m})
	}
	if o.forward != "" {
		if _, _, err := net.SplitHostPort(o.forward); err != nil {
			return nil, usageError{fmt.Errorf("--forward takes HOST:PORT: %w", err)}
		}
		ways = append(ways, forwarder{m, o.forward, time.Duration(o.timeout)})
	}
	if len(command) > 0 {
		if _, err := exec.LookPath(command[0]); err != nil {
			return nil, err
		}
		ways = append(ways, runner{m, command, append(os.Environ(), "IRIS_CLUSTER="+cluster), &o.work})
	}
	if len(ways) != 1 {
		return nil, usageError{errors.New("choose one way to serve: --echo, --forward HOST:PORT, or a command after --")}
	}
	return ways[0], nil
}

// finish takes nothing more from the node and waits for what was begun.
func (o *serveFlags) finish(cmd *cobra.Command, client *iris.Client, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Duration(o.drain))
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- client.Drain(ctx) }()
	select {
	case err := <-drained:
		if ctx.Err() != nil {
			err = fmt.Errorf("what was begun had not ended within the %v of --drain: it was given up", &o.drain)
		}
		return err
	case <-signals:
		return errors.New("stopped at once by a second signal: what was begun was given up")
	}
}

// place tells people what address means.
func place(address string) string {
	if strings.ContainsAny(address, ":/") {
		return address
	}
	return "port " + address
}

// A member prints what is broadcast to its cluster.
type member struct {
	iris.NopHandler
	out    *printer
	failed chan<- error // the first failure of out
	talk   *log.Logger
}

func (m member) HandleBroadcast(_ context.Context, msg []byte) {
	if err := m.out.print(msg); err != nil {
		select {
		case m.failed <- err:
		default:
		}
	}
}

// echo is a member that sends back what it gets.
type echo struct{ member }

func (echo) HandleRequest(_ context.Context, body []byte) ([]byte, error) { return body, nil }

func (e echo) HandleTunnel(ctx context.Context, t *iris.Tunnel) {
	for {
		msg, err := t.Recv(ctx)
		if err == nil {
			err = t.Send(ctx, msg)
		}
		if err != nil {
			return
		}
	}
}

// A forwarder is a member that connects tunnels to a TCP server.
type forwarder struct {
	member
	to      string
	timeout time.Duration // for the server to be reached
}

func (f forwarder) HandleRequest(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("this member takes tunnels, no requests")
}

func (f forwarder) HandleTunnel(ctx context.Context, t *iris.Tunnel) {
	d := net.Dialer{Timeout: f.timeout}
	conn, err := d.DialContext(ctx, "tcp", f.to)
	if err == nil {
		// A server that has ended its answer has ended the conversation.
		err = splice(ctx, t, conn, 0)
	}
	if err != nil {
		f.talk.Printf("tunnel to %s: %s", f.to, errorText(err))
	}
}

// A runner is a member that runs a command for each request.
type runner struct {
	member
	command []string
	environ []string
	work    *sync.WaitGroup
}

// mostWords is how much of standard error is looked at.
const mostWords = 1 << 10

func (r runner) HandleRequest(ctx context.Context, body []byte) ([]byte, error) {
	r.work.Add(1)
	defer r.work.Done()
	out := &shell.Capture{Most: maxBody, Full: fmt.Errorf("the reply is longer than the %s a message may have", octets(int64(maxBody)))}
	words := &shell.Capture{Most: mostWords}
	cmd := exec.CommandContext(ctx, r.command[0], r.command[1:]...)
	cmd.Env = r.environ
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(body), out, words
	cmd.WaitDelay = time.Second // for those that it started and left behind
	shell.Group(cmd)
	err := cmd.Run()
	if text := strings.TrimSpace(string(words.Bytes())); text != "" {
		r.talk.Printf("%s: %s", r.command[0], visible(text))
		if err != nil {
			err = fmt.Errorf("%w: %s", err, text)
		}
	}
	return out.Bytes(), err
}
