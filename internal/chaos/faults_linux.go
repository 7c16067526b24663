package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/project-iris/iris/internal/hosts"
)

// startTime is what a process may take to start, or to end in order.
const startTime = 30 * time.Second

// disrupt does what d says, at its time, and mends it.
func (s *stage) disrupt(ctx context.Context, began time.Time, d disruption) error {
	do, mend := s.fault(d)
	if err := wait(ctx, began.Add(d.At)); err != nil {
		return err
	}
	if err := do(); err != nil {
		return fmt.Errorf("%v: %w", d, err)
	}
	if mend == nil {
		return nil
	}
	if err := wait(ctx, began.Add(d.At+d.For)); err != nil {
		return err
	}
	if err := mend(); err != nil {
		return fmt.Errorf("mend %v: %w", d, err)
	}
	return nil
}

func wait(ctx context.Context, until time.Time) error {
	select {
	case <-time.After(time.Until(until)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fault returns what breaks something, and what mends it.
func (s *stage) fault(d disruption) (do, mend func() error) {
	h := s.all[d.Hosts[0]]
	start := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), startTime)
		defer cancel()
		return h.startAll(ctx)
	}
	switch d.Kind {
	case killNode:
		return func() error { h.killNode(); return nil }, start
	case killHost:
		return func() error {
			h.killNode()
			for _, part := range programParts {
				h.killProgram(part)
			}
			return nil
		}, start
	case killProgram:
		part := servicePart
		if d.Client {
			part = clientPart
		}
		return func() error { h.killProgram(part); return nil }, start
	case freezeNode, freezeHost:
		ps := h.processes(d.Kind == freezeHost)
		return toAll(ps, (*hosts.Process).Freeze), toAll(ps, (*hosts.Process).Thaw)
	case cutHost:
		return h.Cut, h.Mend
	case unplugHost:
		return h.Unplug, h.Mend
	case cutOneWay:
		others := s.hosts(d.Others)
		return func() error { return h.CutTo(others...) }, func() error { return h.MendTo(others...) }
	case splitLAN:
		apart := s.hosts(d.Hosts)
		return func() error { return s.lan.Split(apart) }, toAll(apart, (*hosts.Host).Mend)
	case drainNode:
		return func() error {
			ctx, cancel := context.WithTimeout(context.Background(), startTime)
			defer cancel()
			h.drainNode(ctx)
			return nil
		}, nil
	case addNode:
		return start, nil
	}
	panic("no such fault: " + d.Kind)
}

func (s *stage) hosts(which []int) []*hosts.Host {
	all := make([]*hosts.Host, len(which))
	for i, n := range which {
		all[i] = s.all[n].Host
	}
	return all
}

// toAll returns what calls f for all of some.
func toAll[T any](of []T, f func(T) error) func() error {
	return func() error {
		var errs []error
		for _, x := range of {
			errs = append(errs, f(x))
		}
		return errors.Join(errs...)
	}
}
