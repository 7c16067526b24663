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

// finish ends the load, waits for what is under way, and has the checker tell.
func (r *run) finish(ctx context.Context) error {
	if err := r.rest(); err != nil {
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
