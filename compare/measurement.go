package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// A system is a fabric used over a transport.
type system struct {
	Fabric    string // iris, nats or floor
	Transport string // tcp or unix: how programs attach to their hub
	Apart     bool   // the client and the service are on two hosts
}

func (s system) String() string {
	if s.Apart {
		return s.Fabric + "/" + s.Transport + "/apart"
	}
	return s.Fabric + "/" + s.Transport
}

var (
	irisTCP   = system{"iris", "tcp", false}
	irisUnix  = system{"iris", "unix", false}
	natsTCP   = system{"nats", "tcp", false}
	floorTCP  = system{"floor", "tcp", false}
	floorUnix = system{"floor", "unix", false}

	irisTCPApart  = system{"iris", "tcp", true}
	irisUnixApart = system{"iris", "unix", true}
	natsTCPApart  = system{"nats", "tcp", true}
)

// A measurement puts a load on a system.
type measurement struct {
	load   string // a key of loads
	system system
}

func (m measurement) String() string { return m.load + "/" + m.system.String() }

func (m measurement) apart() bool { return m.system.Apart }

// parseSystem is the reverse of String.
func parseSystem(text string) (s system, ok bool) {
	s.Fabric, text, ok = strings.Cut(text, "/")
	s.Transport, text, s.Apart = strings.Cut(text, "/")
	return s, ok && s.Apart == (text == "apart")
}

// measurements are all there are. Those of one load are neighbours, so that
// what a ratio is made of is measured within a few seconds.
var measurements = func() (all []measurement) {
	loads := []string{oneRequest, goroutines, async, publish1, publish4, tunnel}
	for _, load := range loads {
		for _, s := range []system{irisTCP, natsTCP, irisUnix} {
			all = append(all, measurement{load, s})
		}
		if load == oneRequest { // all that a relay can do that only copies
			all = append(all, measurement{load, floorTCP}, measurement{load, floorUnix})
		}
	}
	for _, load := range loads {
		for _, s := range []system{irisTCPApart, natsTCPApart, irisUnixApart} {
			all = append(all, measurement{load, s})
		}
	}
	return all
}()

// rotated returns the measurements with those of each load in the order of
// round i: each system follows each other one in turn.
func rotated(all []measurement, i int) []measurement {
	all = slices.Clone(all)
	for rest := all; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].load == rest[0].load {
			n++
		}
		same := slices.Clone(rest[:n])
		for j := range same {
			rest[j] = same[(i+j)%n]
		}
		if i/n%2 == 1 {
			slices.Reverse(rest[:n])
		}
		rest = rest[n:]
	}
	return all
}

// An order has a client measure.
type order struct {
	Load    string
	Time    time.Duration
	Hubs    []int // process ids
	Service int   // process id
}

// A result is what a client measured.
type result struct {
	tally
	Elapsed time.Duration `json:"elapsed_ns"`
	Hub     time.Duration `json:"hub_cpu_ns"` // processor time of the hub, or of those of all hosts
	All     time.Duration `json:"all_cpu_ns"` // processor time of that, service and client
}

// An answer is the client's to an order.
type answer struct {
	Result result
	Error  string
}

// carryOut puts l on the system for a fifth of the time to warm up, and then
// for all of it.
func (o order) carryOut(l load) (r result, err error) {
	if _, err := l(o.Time / 5); err != nil {
		return r, fmt.Errorf("warming up: %w", err)
	}
	hub, all, err := o.used()
	if err != nil {
		return r, err
	}
	began := time.Now()
	if r.tally, err = l(o.Time); err != nil {
		return r, err
	}
	r.Elapsed = time.Since(began)
	r.Hub, r.All, err = o.used()
	r.Hub -= hub
	r.All -= all
	if err == nil && r.Ops == 0 {
		err = errors.New("nothing was carried")
	}
	return r, err
}

// used returns the processor time that the hubs and all have used so far.
func (o order) used() (hub, all time.Duration, err error) {
	if hub, err = processorTimes(o.Hubs...); err != nil {
		return 0, 0, err
	}
	programs, err := processorTimes(o.Service, os.Getpid())
	return hub, hub + programs, err
}

func processorTimes(pids ...int) (sum time.Duration, err error) {
	for _, pid := range pids {
		t, err := processorTime(pid)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}
