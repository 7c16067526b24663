package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

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

// members returns the sessions that the programs of some hosts have with their nodes,
// in the same order. The text is what is wrong instead.
func (r *run) members(in []bool) (services, clients []*session, wrong string) {
	for i, is := range in {
		if !is {
			continue
		}
		service, wrong := r.member(i, servicePart)
		if wrong != "" {
			return nil, nil, wrong
		}
		client, wrong := r.member(i, clientPart)
		if wrong != "" {
			return nil, nil, wrong
		}
		services, clients = append(services, service), append(clients, client)
	}
	return services, clients, ""
}

func (r *run) member(i int, part string) (s *session, wrong string) {
	h := r.all[i]
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.programs[part]
	if p == nil || h.node == nil {
		return nil, fmt.Sprintf("%s lacks its node or its %s", h.Name, part)
	}
	s = r.checker.current[p.name]
	if s == nil || !s.ready || s.over || s.node != h.node.name {
		return nil, fmt.Sprintf("%s is not attached to %s", p.name, h.node.name)
	}
	return s, ""
}

// names returns the clusters that have members if some hosts are there.
func names(in []bool) []string {
	clusters := []string{allMembers}
	for i, is := range in {
		if is {
			clusters = append(clusters, placeOf(hostName(i)))
		}
	}
	return clusters
}

// ill returns what does not work of all that should, counting only what was begun
// since a time.
func (r *run) ill(since int64) []string {
	services, clients, wrong := r.members(r.in)
	if wrong != "" {
		return []string{wrong}
	}
	ill := r.apart(since)
	c := r.checker
	for _, from := range clients {
		for _, to := range names(r.in) {
			if c.requests.replies[way{from.name, to}] < since {
				ill = append(ill, fmt.Sprintf("%s has no reply from %q", from.name, to))
			}
		}
	}
	eachStream(clients, services, func(w way, by *session) {
		n, ok := c.streams.firstSince(w, since)
		if h := c.streams.heard[hearing{w, by.name}]; !ok || h == nil || h.last < n {
			ill = append(ill, fmt.Sprintf("%s does not hear %s on %q", by.name, w.from, w.to))
		}
	})
	return ill
}

// eachStream calls f for every stream that clients publish and services hear.
func eachStream(clients, services []*session, f func(w way, by *session)) {
	for _, from := range clients {
		for _, to := range append(topics, allMembers) {
			for _, by := range services {
				f(way{from.name, to}, by)
			}
		}
	}
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
	services, clients, wrong := r.members(in)
	if wrong != "" {
		return []string{wrong}
	}
	c := r.checker
	for _, x := range c.requests.failedSince(from, until, names(in)) {
		failed = append(failed, fmt.Sprintf("%s got no reply from %q", x.session.name, x.to))
	}
	eachStream(clients, services, func(w way, by *session) {
		next, ok := c.streams.firstSince(w, until)
		h := c.streams.heard[hearing{w, by.name}]
		switch {
		case !ok:
			failed = append(failed, fmt.Sprintf("%s does not publish to %q", w.from, w.to))
		case h == nil || h.last < next-1:
			failed = append(failed, fmt.Sprintf("%s did not hear all of %s on %q", by.name, w.from, w.to))
		case from <= h.hole && h.hole < until:
			failed = append(failed, fmt.Sprintf("%s missed some of %s on %q", by.name, w.from, w.to))
		}
	})
	return failed
}
