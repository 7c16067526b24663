package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris"
)

// mostForwarded is how many TCP connections are forwarded at once. Others wait
// until one ends.
const mostForwarded = 1024

// tunnelFlags are the flags of the tunnel command.
type tunnelFlags struct {
	clientFlags
	listen string
	public bool
	linger span
}

func newTunnelCommand() *cobra.Command {
	o := &tunnelFlags{linger: span(time.Second)}
	cmd := &cobra.Command{
		Use:   "tunnel CLUSTER",
		Short: "Open a tunnel to a member of a cluster",
		Example: `iris tunnel db --listen localhost:15432
iris tunnel echo <file >copy`,
		Long: `Opens a tunnel to one member of CLUSTER. What comes on standard input goes to the
member, and what the member sends to standard output, until it closes the tunnel.

With --listen it accepts TCP connections instead, until SIGINT or SIGTERM, and
opens a tunnel for each: "iris serve CLUSTER --forward HOST:PORT" is the other
end, and so a TCP server is reached by the name CLUSTER.

A tunnel cannot be closed in one direction only. When standard input, or what a
TCP connection sends, is over, the tunnel still takes what comes, and is closed
when the member closes it or nothing has come for the time of --linger.`,
		Args:              oneName("cluster"),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "accept TCP connections on `HOST:PORT`")
	f.BoolVar(&o.public, "public", false, "let other hosts connect to --listen: whoever does reaches the cluster")
	f.Var(&o.linger, "linger", "how long to wait for more when the input is over")
	return o.complete(cmd, "", o.run)
}

func (o *tunnelFlags) run(cmd *cobra.Command, args []string) error {
	defer untilSignal(cmd)()
	attaching, cancel := o.withTimeout(cmd)
	defer cancel()
	if o.listen != "" {
		return o.forward(attaching, cmd, args[0])
	}
	client, err := o.connect(attaching, cmd)
	if err != nil {
		return err
	}
	defer client.Close()
	t, err := client.Tunnel(attaching, args[0])
	if err != nil {
		return err
	}
	defer t.Close()
	_, err = carry(cmd.Context(), t, cmd.InOrStdin(), cmd.OutOrStdout(), time.Duration(o.linger))
	if errors.Is(err, iris.ErrBroken) {
		// A node that ends breaks off its tunnels first.
		ctx, cancel := o.withTimeout(cmd)
		defer cancel()
		err = cmp.Or(client.Flush(ctx), err)
	}
	return err
}

// forward opens a tunnel to cluster for each TCP connection, until a signal.
func (o *tunnelFlags) forward(attaching context.Context, cmd *cobra.Command, cluster string) error {
	if err := o.checkListen(); err != nil {
		return err
	}
	client, err := o.connect(attaching, cmd)
	if err != nil {
		return err
	}
	defer client.Close()
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	talk := log.New(cmd.ErrOrStderr(), "iris: ", 0)
	fmt.Fprintf(cmd.ErrOrStderr(), "listening on %v for %s\n", l.Addr(), printable(cluster))

	ctx, cancel := context.WithCancel(cmd.Context())
	var conns sync.WaitGroup
	room := make(chan struct{}, mostForwarded)
	defer conns.Wait()
	defer cancel() // ends them
	context.AfterFunc(ctx, func() { l.Close() })
	go func() {
		<-client.Done()
		cancel()
	}()
	for {
		conn, err := l.Accept()
		switch {
		case client.Err() != nil:
			return ended(client)
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		room <- struct{}{}
		conns.Go(func() {
			defer func() { <-room }()
			if err := o.carry(ctx, client, cluster, conn); err != nil && ctx.Err() == nil {
				talk.Printf("connection from %v: %s", conn.RemoteAddr(), errorText(err))
			}
		})
	}
}

// carry opens a tunnel for conn, and closes both.
func (o *tunnelFlags) carry(ctx context.Context, client *iris.Client, cluster string, conn net.Conn) error {
	opening, cancel := context.WithTimeout(ctx, time.Duration(o.timeout))
	defer cancel()
	t, err := client.Tunnel(opening, cluster)
	if err != nil {
		conn.Close()
		return err
	}
	return splice(ctx, t, conn, time.Duration(o.linger))
}

// checkListen refuses an address that other hosts reach, unless that is meant.
func (o *tunnelFlags) checkListen() error {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return usageError{fmt.Errorf("--listen takes HOST:PORT: %w", err)}
	}
	if o.public || host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return nil
	}
	return usageError{errors.New("--listen is for this host: give localhost:PORT, or --public where every host may reach the cluster")}
}
