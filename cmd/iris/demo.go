package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/node"
)

// demoTime bounds each step of the demo. It is far more than any needs.
const demoTime = 10 * time.Second

func newDemoCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Show the four primitives at work",
		Example: "iris demo",
		Long: `Starts a node on a free port of loopback and programs that attach to it, all in
one process. They send each other a request, a broadcast, an event and messages
through a tunnel, by name. What is shown was measured or counted: the times by
the program that sent, the figures at the end by the node.

Nothing leaves this host, and nothing is left behind.`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{show: showDemo(cmd.OutOrStdout(), asJSON)}
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write an object for each step")
	return cmd
}

// A demo is one performance.
type demo struct {
	config iris.Config
	show   func(demoStep) error
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

// A demoAnswer is what one program made of what was sent.
type demoAnswer struct {
	By   string `json:"by"`
	Text string `json:"text"`
}

// demoMember is a service of the demo.
type demoMember struct {
	name  string
	heard chan<- demoAnswer
}

func (m demoMember) HandleRequest(_ context.Context, body []byte) ([]byte, error) {
	return fmt.Appendf(nil, "%s: hello, %s", m.name, body), nil
}

func (m demoMember) HandleBroadcast(_ context.Context, msg []byte) {
	m.heard <- demoAnswer{m.name, string(msg)}
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
	n, err := node.New(node.Config{Dev: true})
	if err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		return err
	}
	defer n.Close()
	s, err := n.Status()
	if err != nil {
		return err
	}
	d.config.Address = s.Relay[0]

	heard := make(chan demoAnswer, 16)
	var programs []*iris.Client
	defer func() {
		for _, p := range programs {
			p.Close()
		}
	}()
	for _, name := range []string{"anna", "bert", "cleo"} {
		p, err := d.config.Register(ctx, "greeters", demoMember{name, heard})
		if err != nil {
			return err
		}
		programs = append(programs, p)
	}
	client, err := d.config.Connect(ctx)
	if err != nil {
		return err
	}
	programs = append(programs, client)
	if err := d.show(demoStep{Step: "start", To: d.config.Address, Answers: []demoAnswer{
		{"a node", "with its relay on " + strings.Join(s.Relay, " and ")},
		{"anna, bert and cleo", `registered as members of cluster "greeters"`},
		{"dora", "attached as a client"},
	}}); err != nil {
		return err
	}
	for _, step := range []func(context.Context, *iris.Client, <-chan demoAnswer) error{d.request, d.balance, d.broadcast} {
		if err := step(ctx, client, heard); err != nil {
			return err
		}
	}
	if err := d.publish(ctx, client, programs[:2]); err != nil {
		return err
	}
	if err := d.tunnel(ctx, client); err != nil {
		return err
	}
	return d.sum(n)
}

func (d *demo) request(ctx context.Context, client *iris.Client, _ <-chan demoAnswer) error {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	const sent = "world"
	start := time.Now()
	reply, err := client.Request(ctx, "greeters", []byte(sent))
	took := time.Since(start)
	if err != nil {
		return err
	}
	by, text, ok := strings.Cut(string(reply), ": ")
	if !ok || text != "hello, "+sent {
		return fmt.Errorf("a request with %q was answered %q", sent, reply)
	}
	return d.show(demoStep{Step: "request", From: "dora", To: "one of greeters", Sent: sent, Answers: []demoAnswer{{by, text}}, Took: milliseconds(took)})
}

// balance has many requests under way at once and shows who answered how many.
func (d *demo) balance(ctx context.Context, client *iris.Client, _ <-chan demoAnswer) error {
	const requests = 300
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	type answer struct {
		by  string
		err error
	}
	answers := make(chan answer, requests)
	start := time.Now()
	for range requests {
		if err := client.RequestAsync(ctx, "greeters", []byte("all"), func(reply []byte, err error) {
			by, _, _ := strings.Cut(string(reply), ": ")
			answers <- answer{by, err}
		}); err != nil {
			return err
		}
	}
	shares := map[string]int{}
	for range requests {
		a := <-answers
		if a.err != nil {
			return a.err
		}
		shares[a.by]++
	}
	took := time.Since(start)
	step := demoStep{Step: "balance", From: "dora", To: "greeters", Sent: fmt.Sprintf("%d requests at once", requests), Took: milliseconds(took)}
	for _, by := range slices.Sorted(maps.Keys(shares)) {
		step.Answers = append(step.Answers, demoAnswer{by, fmt.Sprintf("answered %d of them", shares[by])})
	}
	return d.show(step)
}

func (d *demo) broadcast(ctx context.Context, client *iris.Client, heard <-chan demoAnswer) error {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	const sent = "tea is ready"
	start := time.Now()
	if err := client.Broadcast(ctx, "greeters", []byte(sent)); err != nil {
		return err
	}
	answers, err := gather(ctx, heard, 3, sent)
	if err != nil {
		return err
	}
	return d.show(demoStep{Step: "broadcast", From: "dora", To: "every one of greeters", Sent: sent, Answers: answers, Took: milliseconds(time.Since(start))})
}

// gather waits for n programs to hear sent.
func gather(ctx context.Context, heard <-chan demoAnswer, n int, sent string) (answers []demoAnswer, err error) {
	for range n {
		select {
		case a := <-heard:
			if a.Text != sent {
				return nil, fmt.Errorf("%s heard %q where %q was sent", a.By, a.Text, sent)
			}
			answers = append(answers, demoAnswer{a.By, "heard it"})
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d programs heard %q: %w", len(answers), n, sent, iris.ErrTimeout)
		}
	}
	slices.SortFunc(answers, func(a, b demoAnswer) int { return strings.Compare(a.By, b.By) })
	return answers, nil
}

func (d *demo) publish(ctx context.Context, client *iris.Client, subscribers []*iris.Client) error {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	heard := make(chan demoAnswer, 16)
	for i, s := range subscribers {
		by := []string{"anna", "bert"}[i]
		if _, err := s.Subscribe(ctx, "weather", func(_ context.Context, event []byte) { heard <- demoAnswer{by, string(event)} }); err != nil {
			return err
		}
	}
	const sent = "rain from the west"
	start := time.Now()
	if err := client.Publish(ctx, "weather", []byte(sent)); err != nil {
		return err
	}
	answers, err := gather(ctx, heard, len(subscribers), sent)
	if err != nil {
		return err
	}
	return d.show(demoStep{Step: "publish", From: "dora", To: "subscribers of weather", Sent: sent, Answers: answers, Took: milliseconds(time.Since(start))})
}

func (d *demo) tunnel(ctx context.Context, client *iris.Client) error {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	start := time.Now()
	t, err := client.Tunnel(ctx, "greeters")
	if err != nil {
		return err
	}
	defer t.Close()
	sent := []string{"one", "two", "three"}
	for _, word := range sent {
		if err := t.Send(ctx, []byte(word)); err != nil {
			return fmt.Errorf("tunnel: %w", err)
		}
	}
	var answers []demoAnswer
	for _, word := range sent {
		msg, err := t.Recv(ctx)
		if err != nil {
			return fmt.Errorf("tunnel: %w", err)
		}
		by, text, _ := strings.Cut(string(msg), ": ")
		if text != strings.ToUpper(word) {
			return fmt.Errorf("a tunnel gave back %q for %q", text, word)
		}
		answers = append(answers, demoAnswer{by, text})
	}
	took := time.Since(start)
	if err := t.Close(); err != nil {
		return err
	}
	return d.show(demoStep{Step: "tunnel", From: "dora", To: "one of greeters", Sent: strings.Join(sent, ", "), Answers: answers, Took: milliseconds(took)})
}

// sum shows what the node has counted.
func (d *demo) sum(n *node.Node) error {
	s, err := n.Status()
	if err != nil {
		return err
	}
	var dropped uint64
	for _, n := range s.Dropped {
		dropped += n
	}
	if dropped > 0 {
		return errors.New("the node dropped something, which no step of the demo makes it do: please report that")
	}
	return d.show(demoStep{Step: "counted", Counters: map[string]uint64{
		"programs":   uint64(s.Programs),
		"requests":   s.Sent.Requests,
		"replies":    s.Sent.Replies,
		"broadcasts": s.Sent.Broadcasts,
		"events":     s.Sent.Events,
		"tunnels":    s.Sent.Tunnels,
		"dropped":    dropped,
	}})
}

// showDemo returns what writes the steps to w, for machines or for people.
func showDemo(w io.Writer, asJSON bool) func(demoStep) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		return func(s demoStep) error { return encoder.Encode(s) }
	}
	var once sync.Once
	return func(s demoStep) error {
		var b strings.Builder
		once.Do(func() {
			b.WriteString("Iris: programs that address each other by name, through the node of their host.\n")
		})
		b.WriteByte('\n')
		switch {
		case s.Step == "start":
			for _, a := range s.Answers {
				fmt.Fprintf(&b, "  %s: %s\n", a.By, a.Text)
			}
		case s.Counters != nil:
			b.WriteString("The node has counted:\n")
			for _, name := range []string{"programs", "requests", "replies", "broadcasts", "events", "tunnels", "dropped"} {
				fmt.Fprintf(&b, "  %-11s %d\n", name, s.Counters[name])
			}
			b.WriteString("\nEverything was answered. Next: \"iris node --dev\" keeps a node running for programs of your own.\n")
		default:
			fmt.Fprintf(&b, "%-10s %s to %s: %s\n", s.Step, s.From, s.To, s.Sent)
			for _, a := range s.Answers {
				fmt.Fprintf(&b, "  %8s %s\n", a.By, a.Text)
			}
			fmt.Fprintf(&b, "  %8s after %.2f ms\n", "", s.Took)
		}
		_, err := io.WriteString(w, b.String())
		return err
	}
}
