package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/project-iris/iris/node"
)

// A run is a network under load with a plan of what goes wrong.
type run struct {
	*stage
	checker *checker
	usages  usages
	report  *report
	in      []bool // hosts that have a node when nothing is broken

	starvedAt int64 // when this process last waited for a processor for long

	looked  time.Time
	latest  []look // by host
	looking []bool

	mu    sync.Mutex
	looks []look // that have come and were not taken
}

// A look is what was seen of a host's node.
type look struct {
	host   int
	usage  usage
	status *node.Status // nil: it did not answer
}

const (
	tickEvery = 200 * time.Millisecond
	lookEvery = time.Second
	healTime  = 30 * time.Second // after the last fault of a round
	restTime  = 40 * time.Second // until everything under way has ended
	starved   = time.Second      // a step that takes this long had no processor
)

// chaos runs a network as the options say, until ctx is done or its time is over,
// and tells what broke. The error is what kept it from finding out.
func chaos(ctx context.Context, o options, out io.Writer, lines io.Writer) (*report, error) {
	s, err := newStage(o)
	if err != nil {
		return nil, err
	}
	defer s.close()
	r := &run{
		stage:   s,
		checker: newChecker(),
		usages:  newUsages(),
		report:  newReport(o, out, lines),
		in:      make([]bool, o.Hosts),
		latest:  make([]look, o.Hosts),
		looking: make([]bool, o.Hosts),
	}
	err = r.play(ctx)
	for _, h := range s.all {
		if h.node != nil {
			h.logNode()
		}
	}
	err = errors.Join(err, r.read(r.checker))
	r.report.end(r.checker, &r.usages)
	return r.report, err
}

func (r *run) play(ctx context.Context) error {
	began := time.Now()
	p := newPlan(r.Seed, r.Hosts, r.Spare, r.Faults)
	for i, in := range p.in {
		r.in[i] = in
		if !in {
			continue
		}
		if err := r.all[i].startAll(ctx); err != nil {
			return err
		}
	}
	if err := r.calm(ctx, 0); err != nil {
		return err
	}
	for round := 1; time.Since(began) < r.Duration; round++ {
		disruptions := p.round()
		r.report.round(round, disruptions)
		from := now()
		if err := r.disruptAll(ctx, disruptions); err != nil {
			return err
		}
		before := slices.Clone(r.in)
		copy(r.in, p.in)
		if orderly(disruptions) {
			stayed := slices.Clone(p.in)
			for i := range stayed {
				stayed[i] = stayed[i] && before[i]
			}
			if err := r.lossless(ctx, from, fmt.Sprintf("round %d, in which nodes only left and came", round), stayed); err != nil {
				return err
			}
		}
		if err := r.calm(ctx, round); err != nil {
			return err
		}
	}
	return r.finish(ctx)
}

// disruptAll carries out a round.
func (r *run) disruptAll(ctx context.Context, round []disruption) error {
	var all sync.WaitGroup
	errs := make([]error, len(round))
	began := time.Now()
	for i, d := range round {
		all.Go(func() { errs[i] = r.disrupt(ctx, began, d) })
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	over := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	if _, err := r.until(ctx, over, 10*time.Minute); err != nil {
		<-done
		return err
	}
	return errors.Join(errs...)
}

// until watches until something is so, for a time at most. Time in which this
// process did not get a processor does not count: the nodes had none either.
func (r *run) until(ctx context.Context, so func() bool, limit time.Duration) (bool, error) {
	for spent := time.Duration(0); ; {
		began := time.Now()
		if err := r.tick(ctx); err != nil {
			return false, err
		}
		if so() {
			return true, nil
		}
		if spent >= limit {
			return false, nil
		}
		if err := wait(ctx, time.Now().Add(tickEvery)); err != nil {
			return false, err
		}
		took := time.Since(began)
		spent += min(took, 2*tickEvery)
		if took > starved {
			r.starvedAt = now()
			r.report.starved(took)
		}
	}
}

// tick takes in what programs wrote and nodes say.
func (r *run) tick(ctx context.Context) error {
	if err := r.read(r.checker); err != nil {
		return err
	}
	r.report.told(r.checker)
	r.mu.Lock()
	looks := r.looks
	r.looks = nil
	r.mu.Unlock()
	for _, l := range looks {
		r.looking[l.host] = false
		if l.status != nil {
			r.latest[l.host] = l
			r.checker.counted(l.usage.Node, l.usage.At, l.usage.Gaps)
		}
	}
	if time.Since(r.looked) < lookEvery {
		return nil
	}
	r.looked = time.Now()
	for i, h := range r.all {
		if r.looking[i] {
			continue // a frozen node takes its time
		}
		r.looking[i] = true
		go func() {
			u, s, err := h.look(ctx)
			if err != nil {
				s = nil
			}
			r.mu.Lock()
			r.looks = append(r.looks, look{i, u, s})
			r.mu.Unlock()
		}()
	}
	return nil
}

const (
	heals    = "after the last fault everything heals"
	goesWell = "in a network without faults nothing is lost"
)

// calm waits until the network has healed, watches it for a while without faults, in
// which nothing may be lost, and compares what nodes hold.
func (r *run) calm(ctx context.Context, round int) error {
	c := r.checker
	since := now()
	c.streams.forget(since)
	var ill, last []string // now, and when all was not well
	well := func() bool {
		if ill = r.ill(since); len(ill) > 0 {
			last = ill
		}
		return len(ill) == 0
	}
	healed, err := r.until(ctx, well, healTime)
	if err != nil {
		return err
	}
	took := time.Duration(now() - since)
	if !healed {
		c.broken(now(), heals, "%s after the last fault of round %d: %s", seconds(took), round, excerpt(ill))
	}
	from := now()
	never := func() bool { return false }
	if _, err := r.until(ctx, never, r.Calm); err != nil {
		return err
	}
	if healed {
		if err := r.lossless(ctx, from, fmt.Sprintf("the calm after round %d", round), r.in); err != nil {
			return err
		}
	}
	r.usages.last = nil
	for i, in := range r.in {
		if l := r.latest[i]; in && l.status != nil && l.usage.At > from {
			r.usages.take(c, l.usage)
			r.usages.last = append(r.usages.last, l.usage)
		}
	}
	r.report.calm(round, healed, took, excerpt(last), r.usages.last)
	return nil
}

// lossless checks that between a time and now nothing was lost among some hosts. It
// cannot tell if the machine had no processor for them.
func (r *run) lossless(ctx context.Context, from int64, when string, in []bool) error {
	until := now()
	var failed []string
	_, err := r.until(ctx, func() bool { failed = r.failed(from, until, in); return len(failed) == 0 }, requestTime+2*time.Second)
	if err == nil && len(failed) > 0 && r.starvedAt < from {
		r.checker.broken(until, goesWell, "in %s: %s", when, excerpt(failed))
	}
	return err
}

func excerpt(all []string) string {
	text := fmt.Sprint(all[:min(len(all), 8)])
	if more := len(all) - 8; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// members returns the sessions that the programs of a host have with its node. The
// text is what is wrong instead.
func (r *run) members(i int) (service, client *session, wrong string) {
	h := r.all[i]
	h.mu.Lock()
	defer h.mu.Unlock()
	var sessions [2]*session
	for k, part := range []string{servicePart, clientPart} {
		p := h.programs[part]
		if p == nil || h.node == nil {
			return nil, nil, h.Name + " lacks its node or a program"
		}
		s := r.checker.current[p.name]
		if s == nil || !s.ready || s.over || s.node != h.node.name {
			return nil, nil, fmt.Sprintf("%s is not attached to %s", p.name, h.node.name)
		}
		sessions[k] = s
	}
	return sessions[0], sessions[1], ""
}

// ill returns what does not work of all that should, counting only what was begun
// since a time.
func (r *run) ill(since int64) (ill []string) {
	var services, clients []*session
	var places []string
	for i, in := range r.in {
		if !in {
			continue
		}
		service, client, wrong := r.members(i)
		if wrong != "" {
			return []string{wrong}
		}
		services, clients, places = append(services, service), append(clients, client), append(places, placeOf(hostName(i)))
	}
	ill = r.apart(since)
	c := r.checker
	for _, from := range clients {
		for _, to := range append(places, allMembers) {
			if c.requests.replies[way{from.name, to}] < since {
				ill = append(ill, fmt.Sprintf("%s has no reply from %q", from.name, to))
			}
		}
		for _, to := range append(topics, allMembers) {
			w := way{from.name, to}
			n, ok := c.streams.firstSince(w, since)
			for _, by := range services {
				if h := c.streams.heard[hearing{w, by.name}]; !ok || h == nil || h.last < n {
					ill = append(ill, fmt.Sprintf("%s does not hear %s on %q", by.name, from.name, to))
				}
			}
		}
	}
	return ill
}

// apart returns how the nodes, asked since a time, are not one network.
func (r *run) apart(since int64) (ill []string) {
	var ids []string
	for i, in := range r.in {
		if l := r.latest[i]; in && l.status != nil && l.usage.At >= since {
			ids = append(ids, l.status.Node)
		} else if in {
			ill = append(ill, hostName(i)+" does not say how it is")
		}
	}
	if len(ill) > 0 {
		return ill
	}
	slices.Sort(ids)
	for i, in := range r.in {
		if !in {
			continue
		}
		s := r.latest[i].status
		view := []string{s.Node}
		for _, p := range s.Peers {
			view = append(view, p.Node)
			if p.Silent {
				ill = append(ill, fmt.Sprintf("%s does not get answers from %s", hostName(i), p.Node))
			}
		}
		slices.Sort(view)
		if s.State != "active" {
			ill = append(ill, fmt.Sprintf("%s is %s", hostName(i), s.State))
		}
		if !slices.Equal(view, ids) {
			ill = append(ill, fmt.Sprintf("%s sees %d nodes of %d, or others", hostName(i), len(view), len(ids)))
		}
	}
	return ill
}

// failed returns what was begun in a time without faults, among some hosts, and did
// not go well.
func (r *run) failed(from, until int64, in []bool) (failed []string) {
	c := r.checker
	there := func(name string) bool {
		for i, in := range in {
			if in && name == placeOf(hostName(i)) {
				return true
			}
		}
		return name == allMembers
	}
	for _, x := range c.requests.failedSince(from, until, there) {
		failed = append(failed, fmt.Sprintf("%s got no reply from %q", x.session.name, x.to))
	}
	var services, clients []*session
	for i, is := range in {
		if !is {
			continue
		}
		service, client, wrong := r.members(i)
		if wrong != "" {
			return append(failed, wrong)
		}
		services, clients = append(services, service), append(clients, client)
	}
	for _, client := range clients {
		for _, to := range append(topics, allMembers) {
			w := way{client.name, to}
			next, ok := c.streams.firstSince(w, until)
			for _, by := range services {
				h := c.streams.heard[hearing{w, by.name}]
				switch {
				case !ok:
					failed = append(failed, fmt.Sprintf("%s does not publish to %q", client.name, to))
				case h == nil || h.last < next-1:
					failed = append(failed, fmt.Sprintf("%s did not hear all of %s on %q", by.name, client.name, to))
				case from <= h.hole && h.hole < until:
					failed = append(failed, fmt.Sprintf("%s missed some of %s on %q", by.name, client.name, to))
				}
			}
		}
	}
	return failed
}

// finish ends the load, waits for what is under way, and has the checker tell.
func (r *run) finish(ctx context.Context) error {
	if err := r.rest(true); err != nil {
		return err
	}
	if _, err := r.until(ctx, r.checker.quiet, restTime); err != nil {
		return err
	}
	looked := now()
	all := func() bool {
		for i, in := range r.in {
			if in && r.latest[i].usage.At < looked {
				return false
			}
		}
		return true
	}
	if _, err := r.until(ctx, all, healTime); err != nil {
		return err
	}
	if err := r.read(r.checker); err != nil {
		return err
	}
	r.checker.finish()
	return nil
}
