package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if p, ok := programFrom(os.Args); ok {
		fmt.Fprintln(os.Stderr, p.run())
		os.Exit(1)
	}
	held, err := command(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	switch {
	case !held:
		os.Exit(1)
	case err != nil:
		os.Exit(2)
	}
}

// command makes a run, and tells whether every promise held as far as it came.
func command(args []string) (held bool, err error) {
	o, file, err := parseOptions(args, os.Stderr)
	if err != nil {
		return true, err
	}
	for o.Seed == 0 {
		o.Seed = rand.Uint64N(1_000_000)
	}
	lines := io.Discard
	if file != "" {
		f, err := os.Create(file)
		if err != nil {
			return true, err
		}
		defer f.Close()
		lines = f
	}
	keep := o.History != ""
	if !keep {
		if o.History, err = os.MkdirTemp("", "iris-chaos-"); err != nil {
			return true, err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := chaos(ctx, o, os.Stdout, lines)
	held = r == nil || r.Held
	if !keep && held {
		os.RemoveAll(o.History)
	}
	return held, err
}
