package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/node"
)

const (
	everybody = "everybody" // what requests say that are many at once
	manyAsked = 300
	laterMany = 100
)

// join waits until the nodes are one network, in which the node of dora knows who has
// greeters.
func (d *demo) join(ctx context.Context) error {
	start := time.Now()
	step := demoStep{Step: "network", From: "node 1", To: "nodes 2 and 3"}
	for _, n := range d.nodes {
		if err := until(ctx, n, func(s *node.Status) bool { return linked(s, len(d.nodes)-1) }); err != nil {
			return err
		}
	}
	if _, err := d.dora.Request(ctx, "greeters", []byte("you")); err != nil {
		return err
	}
	if err := until(ctx, d.nodes[0], func(s *node.Status) bool {
		return slices.ContainsFunc(s.Clusters, func(c node.NameStatus) bool { return c.Name == "greeters" && c.Nodes == 2 })
	}); err != nil {
		return err
	}
	step.Took = milliseconds(time.Since(start))
	step.Sent = "each is linked to each, over TLS 1.3 with one key"
	step.Answers = []demoAnswer{{"node 1", 1, "knows the members of greeters on nodes 2 and 3"}}
	return d.show(step)
}

func (d *demo) request(ctx context.Context) error {
	const sent = "world"
	start := time.Now()
	reply, err := d.dora.Request(ctx, "archive", []byte(sent))
	took := time.Since(start)
	if err != nil {
		return err
	}
	by, text, ok := strings.Cut(string(reply), ": ")
	if !ok || text != "hello, "+sent {
		return fmt.Errorf("a request with %q was answered %q", sent, reply)
	}
	return d.show(demoStep{Step: "request", From: "dora", To: "archive", Sent: sent, Answers: []demoAnswer{{by, d.at[by], text}}, Took: milliseconds(took)})
}

// An outcome is what became of one request.
type outcome struct {
	by  string
	err error
}

// ask sends greeters n requests at once.
func (d *demo) ask(ctx context.Context, n int) (<-chan outcome, error) {
	outcomes := make(chan outcome, n)
	for range n {
		if err := d.dora.RequestAsync(ctx, "greeters", []byte(everybody), func(reply []byte, err error) {
			by, _, _ := strings.Cut(string(reply), ": ")
			outcomes <- outcome{by, err}
		}); err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}

// balance has many requests under way at once and shows who answered how many.
func (d *demo) balance(ctx context.Context) error {
	start := time.Now()
	outcomes, err := d.ask(ctx, manyAsked)
	if err != nil {
		return err
	}
	shares, lost, err := sharesOf(outcomes, manyAsked)
	if err != nil || lost > 0 {
		return fmt.Errorf("%d of %d requests were not answered: %w", lost, manyAsked, cmp.Or(err, iris.ErrTimeout))
	}
	return d.show(demoStep{Step: "balance", From: "dora", To: "greeters", Sent: fmt.Sprintf("%d requests at once, %v of work each", manyAsked, demoWork),
		Answers: d.shares(shares), Took: milliseconds(time.Since(start))})
}

// sharesOf waits for the outcomes of n requests: who answered how many, and how many
// nobody has within their time.
func sharesOf(outcomes <-chan outcome, n int) (shares map[string]int, lost int, err error) {
	shares = make(map[string]int)
	for range n {
		switch o := <-outcomes; {
		case o.err == nil:
			shares[o.by]++
		case errors.Is(o.err, iris.ErrTimeout):
			lost++
		default:
			err = o.err
		}
	}
	return shares, lost, err
}

func (d *demo) shares(of map[string]int) (answers []demoAnswer) {
	for _, by := range slices.Sorted(maps.Keys(of)) {
		answers = append(answers, demoAnswer{by, d.at[by], fmt.Sprintf("answered %d of them", of[by])})
	}
	return answers
}

func (d *demo) broadcast(ctx context.Context) error {
	const sent = "tea is ready"
	start := time.Now()
	if err := d.dora.Broadcast(ctx, "greeters", []byte(sent)); err != nil {
		return err
	}
	answers, err := d.gather(ctx, 3, sent)
	if err != nil {
		return err
	}
	return d.show(demoStep{Step: "broadcast", From: "dora", To: "every one of greeters", Sent: sent, Answers: answers, Took: milliseconds(time.Since(start))})
}

// gather waits for n programs to hear sent.
func (d *demo) gather(ctx context.Context, n int, sent string) (answers []demoAnswer, err error) {
	for range n {
		select {
		case a := <-d.heard:
			if a.Text != sent {
				return nil, fmt.Errorf("%s heard %q where %q was sent", a.By, a.Text, sent)
			}
			answers = append(answers, demoAnswer{a.By, d.at[a.By], "heard it"})
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d programs heard %q: %w", len(answers), n, sent, iris.ErrTimeout)
		}
	}
	slices.SortFunc(answers, func(a, b demoAnswer) int { return strings.Compare(a.By, b.By) })
	return answers, nil
}

func (d *demo) publish(ctx context.Context) error {
	for i, s := range d.greeters[1:] {
		by := []string{"bert", "cleo"}[i]
		if _, err := s.Subscribe(ctx, "weather", func(_ context.Context, event []byte) {
			d.heard <- demoAnswer{By: by, Text: string(event)}
		}); err != nil {
			return err
		}
	}
	const sent = "rain from the west"
	start := time.Now()
	if err := d.dora.Publish(ctx, "weather", []byte(sent)); err != nil {
		return err
	}
	answers, err := d.gather(ctx, 2, sent)
	if err != nil {
		return err
	}
	return d.show(demoStep{Step: "publish", From: "dora", To: "subscribers of weather", Sent: sent, Answers: answers, Took: milliseconds(time.Since(start))})
}

func (d *demo) tunnel(ctx context.Context) error {
	start := time.Now()
	t, err := d.dora.Tunnel(ctx, "archive")
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
		answers = append(answers, demoAnswer{by, d.at[by], text})
	}
	took := time.Since(start)
	if err := t.Close(); err != nil {
		return err
	}
	return d.show(demoStep{Step: "tunnel", From: "dora", To: "archive", Sent: strings.Join(sent, ", "), Answers: answers, Took: milliseconds(took)})
}

// kill kills node 2 while its greeter works. What it had in hand may have been
// carried out or not, so nobody else is asked to: it is lost.
func (d *demo) kill(ctx context.Context) error {
	start := time.Now()
	patient, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	outcomes, err := d.ask(patient, manyAsked)
	if err != nil {
		return err
	}
	first := <-outcomes // all have been sent, and few have been answered
	d.nodes[1].Kill()
	killed := time.Now()
	for _, n := range []*node.Node{d.nodes[0], d.nodes[2]} {
		if err := until(ctx, n, func(s *node.Status) bool { return linked(s, 1) }); err != nil {
			return err
		}
	}
	found := time.Since(killed)
	shares, lost, err := sharesOf(outcomes, manyAsked-1)
	if err != nil {
		return err
	}
	if first.err != nil {
		return first.err
	}
	shares[first.by]++
	step := demoStep{Step: "kill", From: "dora", To: "greeters", Sent: fmt.Sprintf("%d requests at once, and node 2 is killed", manyAsked), Answers: d.shares(shares)}
	step.Answers = append(step.Answers,
		demoAnswer{"node 2", 2, fmt.Sprintf("took %d of them with it: no answer within %v", lost, demoPatience)},
		demoAnswer{"nodes 1, 3", 0, fmt.Sprintf("found it gone after %.2f ms", milliseconds(found))})
	step.Took = milliseconds(time.Since(start))
	return d.show(step)
}

// goOn asks those who are left.
func (d *demo) goOn(ctx context.Context) error {
	start := time.Now()
	outcomes, err := d.ask(ctx, laterMany)
	if err != nil {
		return err
	}
	shares, lost, err := sharesOf(outcomes, laterMany)
	if err != nil || lost > 0 {
		return fmt.Errorf("%d of %d requests were not answered by who is left: %w", lost, laterMany, cmp.Or(err, iris.ErrTimeout))
	}
	return d.show(demoStep{Step: "go on", From: "dora", To: "greeters", Sent: fmt.Sprintf("%d requests at once", laterMany), Answers: d.shares(shares), Took: milliseconds(time.Since(start))})
}

// sum shows what the nodes have counted that are left.
func (d *demo) sum(context.Context) error {
	c := map[string]uint64{}
	for _, n := range []*node.Node{d.nodes[0], d.nodes[2]} {
		s, err := n.Status()
		if err != nil {
			return err
		}
		c["programs"] += uint64(s.Programs)
		c["requests"] += s.Sent.Requests
		c["replies"] += s.Sent.Replies
		c["broadcasts"] += s.Sent.Broadcasts
		c["events"] += s.Sent.Events
		c["tunnels"] += s.Sent.Tunnels
		c["links lost"] += s.LinksEnded["lost"]
		c["requests lost"] += s.Dropped["requests lost with their member"]
		for _, n := range s.Dropped {
			c["dropped"] += n
		}
	}
	c["dropped"] -= c["requests lost"]
	if c["dropped"] > 0 {
		return errors.New("the nodes dropped something beside those requests, which no step of the demo makes them do: please report that")
	}
	return d.show(demoStep{Step: "counted", Counters: c})
}
