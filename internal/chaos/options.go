package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Options say how a run is made.
type options struct {
	Seed     uint64        `json:"seed"`
	Duration time.Duration `json:"duration"` // no round begins after it
	Hosts    int           `json:"hosts"`
	Spare    int           `json:"spare"` // of them, those without a node at first
	Calm     time.Duration `json:"calm"`  // without faults, once all has healed
	Discover string        `json:"discover"`
	Faults   []kind        `json:"faults"`
	Plant    string        `json:"plant,omitempty"`
	Race     bool          `json:"race,omitempty"`
	Iris     string        `json:"iris,omitempty"`
	History  string        `json:"history"` // directory of what programs and nodes wrote
}

const usageText = `Breaks a network of hosts, which are network namespaces of this machine, while it is
under load, and checks from outside that what was promised holds. It needs Linux and
root. docs/chaos.md tells what it breaks, what it checks and what it writes.

	make chaos                           ten minutes, another seed each time
	make chaos DURATION=1h SEED=7

The exit status is 1 if a promise was broken, 2 if that could not be found out.

`

// The promises that a service can be told to break.
const (
	plantTwice   = "twice"   // executes a request again
	plantSwap    = "swap"    // hears two events in the wrong order
	plantDeaf    = "deaf"    // does not hear an event
	plantCorrupt = "corrupt" // has another octet come out of a tunnel
)

var plants = []string{plantTwice, plantSwap, plantDeaf, plantCorrupt}

// parseOptions returns what the arguments of the command say, and the file for lines
// of JSON.
func parseOptions(args []string, talk io.Writer) (o options, lines string, err error) {
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.SetOutput(talk)
	f.Usage = func() {
		fmt.Fprint(talk, usageText)
		f.PrintDefaults()
	}
	f.Uint64Var(&o.Seed, "seed", 0, "`NUMBER` that the plan of faults comes from; 0: one is drawn")
	f.DurationVar(&o.Duration, "duration", 10*time.Minute, "no round of faults begins after this `TIME`")
	f.IntVar(&o.Hosts, "hosts", 8, "how many hosts")
	f.IntVar(&o.Spare, "spare", 2, "how many of them have no node at first")
	f.DurationVar(&o.Calm, "calm", 4*time.Second, "`TIME` without faults between rounds, once all has healed")
	f.StringVar(&o.Discover, "discover", "none", "how nodes find each other; none: each is told of the first two hosts with --peer")
	o.Faults = kinds
	f.Func("faults", "only these, as in \"kill node,split\"; default: all", func(text string) error {
		o.Faults = nil
		for name := range strings.SplitSeq(text, ",") {
			if !slices.Contains(kinds, kind(name)) {
				return fmt.Errorf("there is no fault %q, only %q", name, kinds)
			}
			o.Faults = append(o.Faults, kind(name))
		}
		return nil
	})
	f.Func("plant", "have services break a promise, to see that it is found: twice, swap, deaf or corrupt", func(text string) error {
		if !slices.Contains(plants, text) {
			return fmt.Errorf("there is no fault %q to plant, only %q", text, plants)
		}
		o.Plant = text
		return nil
	})
	f.BoolVar(&o.Race, "race", false, "build the nodes with the race detector")
	f.StringVar(&o.Iris, "iris", "", "`PATH` of the program iris; default: it is built")
	f.StringVar(&o.History, "history", "", "`DIR` for what programs and nodes write, which is kept; default: one that is kept if a promise was broken")
	f.StringVar(&lines, "json", "", "`FILE` for the report as lines of JSON")
	if err := f.Parse(args); err != nil {
		return o, "", err
	}
	switch {
	case f.NArg() > 0:
		return o, "", fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.Hosts-o.Spare < leastIn || o.Spare < 0:
		return o, "", fmt.Errorf("%d hosts of which %d are spare are too few: at least %d have a node", o.Hosts, o.Spare, leastIn)
	}
	return o, lines, nil
}
