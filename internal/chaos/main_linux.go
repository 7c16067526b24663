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
	ok, err := command(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

// command makes a run, and tells whether every promise held.
func command(args []string) (ok bool, err error) {
	o, file, err := parseOptions(args, os.Stderr)
	if err != nil {
		return false, err
	}
	for o.Seed == 0 {
		o.Seed = rand.Uint64N(1_000_000)
	}
	lines := io.Discard
	if file != "" {
		f, err := os.Create(file)
		if err != nil {
			return false, err
		}
		defer f.Close()
		lines = f
	}
	keep := o.History != ""
	if !keep {
		if o.History, err = os.MkdirTemp("", "iris-chaos-"); err != nil {
			return false, err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := chaos(ctx, o, os.Stdout, lines)
	ok = r != nil && r.OK
	if !keep && ok {
		os.RemoveAll(o.History)
	}
	return ok, err
}
