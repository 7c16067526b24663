package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/node"
)

const (
	// demoTime bounds each step of the demo. It is far more than any needs.
	demoTime = 10 * time.Second

	// demoWork is how long a greeter works on a request of those that are many at
	// once: so long that it is worth while to ask another node.
	demoWork = 5 * time.Millisecond

	// demoPatience is the timeout of the requests that a node is killed under.
	demoPatience = 2 * time.Second
)

func newDemoCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Show three nodes and the four primitives at work",
		Example: "iris demo",
		Long: `Starts three nodes of one encrypted network on free ports of loopback and programs
that attach to them, all in one process, as if they were three hosts. The programs
send each other requests, a broadcast, an event and messages through a tunnel, by
name. Then one node is killed, as a crash would, under requests: those that it had
in hand are lost and counted, all others are answered by who is left.

What is shown was measured or counted: the times by the program that sent, the
figures at the end by the nodes. Nothing leaves this host, and nothing is left
behind.`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{show: showDemo(cmd.OutOrStdout(), asJSON), at: map[string]int{}, heard: make(chan demoAnswer, 16)}
			defer d.close()
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write an object for each step")
	return cmd
}

// A demo is one performance.
type demo struct {
	show     func(demoStep) error
	key      ed25519.PrivateKey
	nodes    []*node.Node
	programs []*iris.Client
	at       map[string]int // programs by name: their nodes, from 1
	heard    chan demoAnswer
	dora     *iris.Client // the client
	greeters []*iris.Client
}

// A demoStep is what one step showed.
type demoStep struct {
	Step     string            `json:"step"`
	From     string            `json:"from,omitempty"`
	To       string            `json:"to,omitempty"`
	Sent     string            `json:"sent,omitempty"`
	Answers  []demoAnswer      `json:"answers,omitempty"`
	Took     float64           `json:"took_ms,omitempty"` // until the last answer
	Counters map[string]uint64 `json:"counters,omitempty"`
}

// A demoAnswer is what one program, or node, made of what was sent.
type demoAnswer struct {
	By   string `json:"by"`
	Node int    `json:"node,omitempty"` // that the program is attached to
	Text string `json:"text"`
}

// demoMember is a service of the demo.
type demoMember struct {
	name  string
	heard chan<- demoAnswer
}

// HandleRequest works for a while on what is sent many times at once.
func (m demoMember) HandleRequest(_ context.Context, body []byte) ([]byte, error) {
	if string(body) == everybody {
		time.Sleep(demoWork)
	}
	return fmt.Appendf(nil, "%s: hello, %s", m.name, body), nil
}

func (m demoMember) HandleBroadcast(_ context.Context, msg []byte) {
	m.heard <- demoAnswer{By: m.name, Text: string(msg)}
}

func (m demoMember) HandleTunnel(ctx context.Context, t *iris.Tunnel) {
	for {
		msg, err := t.Recv(ctx)
		if err != nil || t.Send(ctx, fmt.Appendf(nil, "%s: %s", m.name, strings.ToUpper(string(msg)))) != nil {
			return
		}
	}
}

func (d *demo) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.start, d.join, d.request, d.balance, d.broadcast, d.publish, d.tunnel, d.kill, d.goOn, d.sum,
	} {
		ctx, cancel := context.WithTimeout(ctx, demoTime)
		err := step(ctx)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) close() {
	for _, p := range d.programs {
		p.Close()
	}
	for _, n := range d.nodes {
		n.Close()
	}
}

// start starts the nodes, each joined to the first, and the programs.
func (d *demo) start(ctx context.Context) (err error) {
	if _, d.key, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return err
	}
	step := demoStep{Step: "start"}
	for i := range 3 {
		s, err := d.startNode(step.To)
		if err != nil {
			return err
		}
		if i == 0 {
			step.To = s.Address[0]
		}
		step.Answers = append(step.Answers, demoAnswer{fmt.Sprintf("node %d", i+1), i + 1, "is " + short(s.Node) + ", for nodes at " + s.Address[0] + ", for programs at " + s.Relay[0]})
	}
	for i, name := range []string{"anna", "bert", "cleo"} {
		p, err := d.attach(ctx, name, i+1, "greeters")
		if err != nil {
			return err
		}
		d.greeters = append(d.greeters, p)
		step.Answers = append(step.Answers, demoAnswer{name, i + 1, `registered as a member of cluster "greeters"`})
	}
	if _, err = d.attach(ctx, "emma", 3, "archive"); err != nil {
		return err
	}
	if d.dora, err = d.attach(ctx, "dora", 1, ""); err != nil {
		return err
	}
	step.Answers = append(step.Answers, demoAnswer{"emma", 3, `registered as the member of cluster "archive"`}, demoAnswer{"dora", 1, "attached as a client"})
	return d.show(step)
}

// startNode starts a node that is joined to the one at peer; empty: it is the first.
func (d *demo) startNode(peer string) (*node.Status, error) {
	c := node.Config{Network: "demo", Key: d.key, Listen: "127.0.0.1:0", Version: versionText()}
	if peer != "" {
		c.Peers = []string{peer}
	}
	n, err := startOnce(c)
	if err != nil {
		return nil, err
	}
	d.nodes = append(d.nodes, n)
	return n.Status()
}

// attach attaches a program to a node, as a member of the cluster unless that is
// empty.
func (d *demo) attach(ctx context.Context, name string, at int, cluster string) (*iris.Client, error) {
	s, err := d.nodes[at-1].Status()
	if err != nil {
		return nil, err
	}
	config := iris.Config{Address: s.Relay[0]}
	p := (*iris.Client)(nil)
	if cluster == "" {
		p, err = config.Connect(ctx)
	} else {
		p, err = config.Register(ctx, cluster, demoMember{name, d.heard})
	}
	if err == nil {
		d.programs = append(d.programs, p)
		d.at[name] = at
	}
	return p, err
}

// until asks the node for its status until it is as wanted.
func until(ctx context.Context, n *node.Node, wanted func(*node.Status) bool) error {
	for {
		s, err := n.Status()
		if err != nil || wanted(s) {
			return err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("node %s has not come so far: %w", short(s.Node), iris.ErrTimeout)
		}
	}
}

// linked reports whether a node is linked to so many others, and knows no more.
func linked(s *node.Status, others int) bool {
	return s.State == "active" && len(s.Peers) == others && !slices.ContainsFunc(s.Peers, func(p node.PeerStatus) bool { return !p.Linked || p.State != "active" })
}
