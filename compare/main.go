// Compare runs Iris, NATS and a relay that only copies bytes side by side on this
// host, in one run, and prints tables of figures and ratios:
//
//	cd compare && go run .
//
// A system is three processes as users run them: a hub in the middle (the iris
// node built from this tree, a NATS server with its defaults, or the copying
// relay), a service, and the client that measures. Every round measures every
// system, one right after the other and in another order than the round before:
// a host that gets slower meanwhile slows all of them, so that ratios taken
// within rounds hold where absolute figures do not.
//
// Where this program is root there are two hosts as well, made of network
// namespaces: the client is on one, the service on another, and each has a hub of
// its own, joined with that of a third over TLS.
//
// It uses loopback, Unix sockets and a bridge of its own only, and ends all that it
// starts. It runs on Linux, which tells the processor time of other processes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"
)

func main() {
	var err error
	if role, ok := roleOf(os.Args); ok {
		err = role.play()
	} else {
		err = command()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	rounds  int
	time    time.Duration
	only    *regexp.Regexp
	cpuprof string
}

func command() error {
	o := options{only: regexp.MustCompile("")}
	flag.IntVar(&o.rounds, "rounds", 7, "rounds, each of which measures everything once")
	flag.DurationVar(&o.time, "time", 500*time.Millisecond, "how long each measurement of a round takes, after a fifth of that to warm up")
	only := flag.String("only", "", "measure only what matches `REGEXP`, such as request or async/(nats|iris)/tcp")
	flag.StringVar(&o.cpuprof, "cpuprof", "", "have the iris node write a profile of its processor time to `FILE`, and those of two hosts to FILE.0, .1, .2")
	dump := flag.String("json", "", "write every measurement of every round to `FILE`")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 1 || o.time <= 0 {
		return fmt.Errorf("nothing to measure: give at least one round and some time, and no arguments; see -help")
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return err
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := compare(ctx, o, os.Stderr)
	if err != nil {
		return err
	}
	if *dump != "" {
		text, err := json.MarshalIndent(r, "", "\t")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*dump, append(text, '\n'), 0o666); err != nil {
			return err
		}
	}
	r.write(os.Stdout)
	return nil
}

// compare measures, and tells on progress how far it is.
func compare(ctx context.Context, o options, progress io.Writer) (r *report, err error) {
	var chosen []measurement
	for _, m := range measurements {
		if o.only.MatchString(m.String()) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("nothing matches %q; there are %v", o.only, measurements)
	}
	expected := time.Duration(o.rounds*len(chosen)) * o.time * 6 / 5
	fmt.Fprintf(progress, "about %v and the time to build\n", expected.Round(time.Second))
	limit := 2*time.Minute + 2*expected
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("gave up after %v", limit))
	defer cancel()

	s, err := newStage(ctx, o.cpuprof)
	if err != nil {
		return nil, err
	}
	defer s.close()
	r = &report{Machine: thisMachine()}
	if slices.ContainsFunc(chosen, measurement.apart) {
		s.lan, err = newLAN(hostsApart)
		if errors.Is(err, errUnable) {
			r.Missing = fmt.Sprintf("Two hosts were not measured: %v.", err)
			fmt.Fprintln(progress, r.Missing)
			if chosen = slices.DeleteFunc(chosen, measurement.apart); len(chosen) > 0 {
				err = nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
	for _, m := range chosen {
		if err := s.start(m.system); err != nil {
			return nil, err
		}
	}
	for i := range o.rounds {
		began := time.Now()
		round := make(round)
		for _, m := range rotated(chosen, i) {
			if round[m.String()], err = s.measure(m, o.time); err != nil {
				return nil, fmt.Errorf("round %d, %v: %w", i+1, m, err)
			}
		}
		r.Rounds = append(r.Rounds, round)
		fmt.Fprintf(progress, "round %d of %d: %v\n", i+1, o.rounds, time.Since(began).Round(time.Millisecond))
	}
	return r, nil
}
