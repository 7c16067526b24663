package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"

	"github.com/project-iris/iris"
)

const (
	benchTime  = 5 * time.Second
	benchMost  = time.Hour        // of one run
	benchRest  = 10 * time.Second // for what is under way at the end to arrive
	benchAhead = 8 << 20          // octets that may be on their way to the slowest receiver, and one message
	benchCalls = 4096             // requests under way at once: more a node does not keep for one program
	stampSize  = 8                // octets at the start of a message: when it was sent
)

// benchFlags are the flags of the bench commands.
type benchFlags struct {
	clientFlags
	time        span
	count       count
	size        size
	outstanding count
	receivers   count
	cluster     string
	progress    bool
}

func newBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench {request | publish | broadcast | tunnel}",
		Short: "Measure the node of this host",
		Example: `iris bench request
iris bench publish --subscribers 4`,
		Long: `Loads the node of this host and tells how fast it is. A bench attaches once to
send and once for each receiver, all in one process.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		benchCommand("request", "Measure requests", `iris bench request --outstanding 256
iris bench request --cluster echo --count 1000`,
			`Sends requests to a member of its own that answers with what was sent, or to those
of --cluster, and takes the time of each from sending to its reply.`, (*bench).requests),
		benchCommand("publish", "Measure events", "iris bench publish --subscribers 4",
			`Publishes events to its own subscribers as fast as it can, and takes the time of
each event from its publication to the handler of each subscriber.`, (*bench).publish),
		benchCommand("broadcast", "Measure broadcasts", "iris bench broadcast --members 4",
			`Broadcasts to its own members as fast as it can, and takes the time of each message
from sending to the handler of each member.`, (*bench).broadcast),
		benchCommand("tunnel", "Measure a tunnel", `iris bench tunnel --size 1K
iris bench tunnel --cluster echo`,
			`Sends messages through a tunnel to a member of its own as fast as it can, and takes
the time of each from sending to its arrival. With --cluster it takes the time to
its return: the member is to send each back, as "iris serve --echo" does.`, (*bench).tunnel),
	)
	return cmd
}

func benchCommand(name, short, example, long string, load func(*bench) error) *cobra.Command {
	o := &benchFlags{size: 128, outstanding: 1, receivers: 1}
	cmd := &cobra.Command{Use: name, Short: short, Example: example, Long: long + `

It ends after --time or --count, or with SIGINT. What is lost is counted, and makes
it a failure.`, Args: noArgs}
	f := cmd.Flags()
	f.Var(&o.time, "time", "how long to send; default: 5s")
	f.Var(&o.count, "count", "how many to send, instead of a time")
	switch name {
	case "request":
		f.Var(&o.outstanding, "outstanding", "requests under way at once")
		f.StringVar(&o.cluster, "cluster", "", "request from the members of `CLUSTER` instead")
	case "publish":
		f.Var(&o.receivers, "subscribers", "how many subscribe")
	case "broadcast":
		f.Var(&o.receivers, "members", "how many members there are")
	case "tunnel":
		o.size = 64 << 10
		f.StringVar(&o.cluster, "cluster", "", "open the tunnel to a member of `CLUSTER` instead")
	}
	f.Var(&o.size, "size", "octets of a message")
	f.BoolVar(&o.progress, "progress", false, "tell each second how far it is; on a terminal that is the default")
	return o.complete(cmd, "write one object with all figures", func(cmd *cobra.Command, _ []string) error { return o.run(cmd, name, load) })
}

func (o *benchFlags) run(cmd *cobra.Command, name string, load func(*bench) error) error {
	switch {
	case o.size < stampSize || int64(o.size) > int64(maxBody):
		return usageError{fmt.Errorf("--size is from %d to %d octets", stampSize, maxBody)}
	case o.outstanding > benchCalls:
		return usageError{fmt.Errorf("--outstanding is %d at most", benchCalls)}
	case o.time != 0 && o.count != 0:
		return usageError{errors.New("--time and --count both say when to end: leave out one")}
	case time.Duration(o.time) > benchMost:
		return usageError{fmt.Errorf("--time is %v at most", benchMost)}
	}
	config, err := o.config(cmd)
	if err != nil {
		return err
	}
	limit := cmp.Or(time.Duration(o.time), benchTime)
	if o.count != 0 {
		limit = benchMost
	}
	defer untilSignal(cmd)()
	sending, cancel := context.WithTimeout(cmd.Context(), limit)
	defer cancel()
	var random [8]byte
	rand.Read(random[:])
	b := &bench{
		benchFlags: o,
		sending:    sending,
		config:     config,
		name:       "bench-" + hex.EncodeToString(random[:]),
		most:       int64(cmp.Or(o.count, 1<<31-1)),
		moved:      make(chan struct{}, 1),
	}
	if o.progress || isTerminal(cmd.ErrOrStderr()) {
		defer b.report(cmd.ErrOrStderr())()
	}
	err = load(b)
	for _, c := range b.clients {
		c.Close()
	}
	if err != nil {
		return err
	}
	f := b.figures(name)
	if o.json {
		err = writeJSON(cmd.OutOrStdout(), f)
	} else {
		err = f.write(cmd.OutOrStdout())
	}
	if err == nil && f.Lost != 0 {
		o.json = false // its object tells it already
		err = f.wrong()
	}
	return err
}

// A bench is one run.
type bench struct {
	*benchFlags
	sending context.Context // done when nothing more is to be sent
	config  iris.Config
	name    string // of cluster and topic: this run's alone
	most    int64  // messages to send
	clients []*iris.Client

	began     time.Time    // of the first message
	last      atomic.Int64 // when the last message arrived, after began
	sent      atomic.Int64
	receivers []*receiver   // of requests: those who wait for replies
	moved     chan struct{} // pulsed when a receiver took something
}

// A receiver takes the time of what arrives.
type receiver struct {
	bench   *bench
	arrived atomic.Int64

	mu    sync.Mutex
	times *hdrhistogram.Histogram // ns
}

func (b *bench) receiver() *receiver {
	r := &receiver{bench: b, times: newTimes()}
	b.receivers = append(b.receivers, r)
	return r
}

// newTimes holds times of up to benchMost, exact to a thousandth.
func newTimes() *hdrhistogram.Histogram { return hdrhistogram.New(100, int64(benchMost), 3) }

// attach returns what config, one of Connect and Register, gives.
func (b *bench) attach(attach func(ctx context.Context) (*iris.Client, error)) (*iris.Client, error) {
	ctx, cancel := context.WithTimeout(b.sending, time.Duration(b.timeout))
	defer cancel()
	c, err := attach(ctx)
	if err == nil {
		b.clients = append(b.clients, c)
	}
	return c, err
}

func (b *bench) register(cluster string, h iris.Handler) error {
	_, err := b.attach(func(ctx context.Context) (*iris.Client, error) { return b.config.Register(ctx, cluster, h) })
	return err
}

// stamp notes in msg when it is sent.
func (b *bench) stamp(msg []byte) { binary.BigEndian.PutUint64(msg, uint64(time.Since(b.began))) }

// take counts a message that arrived.
func (r *receiver) take(msg []byte) {
	b := r.bench
	now := time.Since(b.began)
	r.mu.Lock()
	r.times.RecordValue(min(int64(now)-int64(binary.BigEndian.Uint64(msg)), int64(benchMost)))
	r.mu.Unlock()
	b.last.Store(int64(now))
	r.arrived.Add(1)
	select {
	case b.moved <- struct{}{}:
	default:
	}
}

// takeAll takes what comes out of t until it is closed.
func (r *receiver) takeAll(ctx context.Context, t *iris.Tunnel) {
	for {
		msg, err := t.Recv(ctx)
		if err != nil {
			return
		}
		if len(msg) == int(r.bench.size) { // others are not ours
			r.take(msg)
		}
	}
}

// slowest returns how much has arrived at every receiver.
func (b *bench) slowest() int64 {
	least := b.receivers[0].arrived.Load()
	for _, r := range b.receivers[1:] {
		least = min(least, r.arrived.Load())
	}
	return least
}

// stream sends as fast as receivers take, and waits for what is under way.
func (b *bench) stream(send func(ctx context.Context, msg []byte) error) error {
	msg := make([]byte, b.size)
	ahead := benchAhead/int64(b.size) + 1
	b.began = time.Now()
	for b.sent.Load() < b.most && b.sending.Err() == nil {
		if b.sent.Load()-b.slowest() >= ahead {
			select {
			case <-b.moved:
			case <-b.sending.Done():
			}
			continue
		}
		b.stamp(msg)
		if err := send(b.sending, msg); err != nil {
			if b.sending.Err() != nil {
				break // it was not sent
			}
			return err
		}
		b.sent.Add(1)
	}
	rest := time.After(benchRest)
	for b.slowest() < b.sent.Load() {
		select {
		case <-b.moved:
		case <-rest:
			return nil // figures tells what is missing
		}
	}
	return nil
}

func (b *bench) publish() error {
	client, err := b.attach(b.config.Connect)
	if err != nil {
		return err
	}
	for range b.benchFlags.receivers {
		r := b.receiver()
		subscriber, err := b.attach(b.config.Connect)
		if err != nil {
			return err
		}
		if _, err := subscriber.Subscribe(b.sending, b.name, func(_ context.Context, event []byte) { r.take(event) }); err != nil {
			return err
		}
	}
	return b.stream(func(ctx context.Context, msg []byte) error { return client.Publish(ctx, b.name, msg) })
}

// benchMember is a member of the cluster of a bench.
type benchMember struct {
	iris.NopHandler
	*receiver
}

func (m benchMember) HandleBroadcast(_ context.Context, msg []byte) { m.take(msg) }

func (m benchMember) HandleTunnel(ctx context.Context, t *iris.Tunnel) { m.takeAll(ctx, t) }

func (b *bench) broadcast() error {
	for range b.benchFlags.receivers {
		if err := b.register(b.name, benchMember{receiver: b.receiver()}); err != nil {
			return err
		}
	}
	client, err := b.attach(b.config.Connect)
	if err != nil {
		return err
	}
	return b.stream(func(ctx context.Context, msg []byte) error { return client.Broadcast(ctx, b.name, msg) })
}

func (b *bench) tunnel() error {
	r := b.receiver()
	if b.cluster == "" {
		if err := b.register(b.name, benchMember{receiver: r}); err != nil {
			return err
		}
	}
	client, err := b.attach(b.config.Connect)
	if err != nil {
		return err
	}
	opening, cancel := context.WithTimeout(b.sending, time.Duration(b.timeout))
	defer cancel()
	t, err := client.Tunnel(opening, cmp.Or(b.cluster, b.name))
	if err != nil {
		return err
	}
	var work sync.WaitGroup
	defer work.Wait()
	defer t.Close()
	if b.cluster != "" {
		work.Go(func() { r.takeAll(context.Background(), t) })
	}
	err = b.stream(t.Send)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the member of %s closed the tunnel: name a cluster that sends back what it gets", printable(b.cluster))
	}
	return err
}

func (b *bench) requests() error {
	if b.cluster == "" {
		if err := b.register(b.name, echo{}); err != nil {
			return err
		}
	}
	client, err := b.attach(b.config.Connect)
	if err != nil {
		return err
	}
	r := b.receiver()
	b.began = time.Now()
	failed := make(chan error, b.outstanding)
	for range b.outstanding {
		go func() { failed <- b.request(client, cmp.Or(b.cluster, b.name), r) }()
	}
	for range b.outstanding {
		err = cmp.Or(<-failed, err)
	}
	return err
}

// request sends one request after the other. One that times out is lost.
func (b *bench) request(client *iris.Client, cluster string, r *receiver) error {
	body := make([]byte, b.size)
	for b.sending.Err() == nil {
		if b.sent.Add(1) > b.most {
			b.sent.Add(-1)
			return nil
		}
		b.stamp(body)
		// Not with the time to send: what is sent is waited for.
		_, err := client.Request(context.Background(), cluster, body)
		switch {
		case err == nil:
			r.take(body)
		case !errors.Is(err, iris.ErrTimeout):
			return err
		}
	}
	return nil
}

// report tells each second how far the bench is, until stop is called.
func (b *bench) report(w io.Writer) (stop func()) {
	done := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		before := int64(0)
		for {
			select {
			case <-tick.C:
				sent := b.sent.Load()
				fmt.Fprintf(w, "%d sent, %d in the last second\n", sent, sent-before)
				before = sent
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		work.Wait()
	}
}

// figures is what a bench measured. Times are in milliseconds.
type figures struct {
	Bench     string  `json:"bench"`
	Size      int64   `json:"size"`
	Receivers int     `json:"receivers"`
	Sent      int64   `json:"sent"`
	Arrived   int64   `json:"arrived"` // at all receivers together
	Lost      int64   `json:"lost"`
	Seconds   float64 `json:"seconds"` // from the first that was sent to the last that arrived
	Rate      float64 `json:"rate"`    // messages a second, to each receiver
	Megabytes float64 `json:"mb_per_s"`
	P50       float64 `json:"p50_ms"`
	P90       float64 `json:"p90_ms"`
	P99       float64 `json:"p99_ms"`
	P999      float64 `json:"p99_9_ms"`
	Max       float64 `json:"max_ms"`
}

func (b *bench) figures(name string) figures {
	times := newTimes()
	f := figures{Bench: name, Size: int64(b.size), Receivers: len(b.receivers), Sent: b.sent.Load()}
	for _, r := range b.receivers {
		f.Arrived += r.arrived.Load()
		r.mu.Lock()
		times.Merge(r.times)
		r.mu.Unlock()
	}
	f.Lost = f.Sent*int64(len(b.receivers)) - f.Arrived
	if f.Arrived == 0 {
		return f
	}
	f.Seconds = time.Duration(b.last.Load()).Seconds()
	f.Rate = float64(f.Arrived) / float64(len(b.receivers)) / f.Seconds
	f.Megabytes = f.Rate * float64(f.Size) / 1e6
	at := func(q float64) float64 { return milliseconds(time.Duration(times.ValueAtQuantile(q))) }
	f.P50, f.P90, f.P99, f.P999 = at(50), at(90), at(99), at(99.9)
	f.Max = milliseconds(time.Duration(times.Max()))
	return f
}

// wrong tells what did not arrive as it was sent.
func (f figures) wrong() error {
	if f.Lost < 0 {
		return fmt.Errorf("%d messages arrived that were not sent, or arrived again: this is a defect of the node", -f.Lost)
	}
	return fmt.Errorf("%d of %d messages were lost: see \"iris status\" for what the node dropped", f.Lost, f.Sent*int64(f.Receivers))
}

// write writes f for people.
func (f figures) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "sent\t%d of %d octets, to %d\n", f.Sent, f.Size, f.Receivers)
	fmt.Fprintf(t, "lost\t%d\n", f.Lost)
	fmt.Fprintf(t, "rate\t%.0f a second, %.1f MB/s\n", f.Rate, f.Megabytes)
	for _, q := range []struct {
		name string
		ms   float64
	}{{"median", f.P50}, {"90 %", f.P90}, {"99 %", f.P99}, {"99.9 %", f.P999}, {"longest", f.Max}} {
		fmt.Fprintf(t, "%s\t%.3f ms\n", q.name, q.ms)
	}
	return t.Flush()
}
