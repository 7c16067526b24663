package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris/internal/sim"
)

// simulateFlags are the flags of the simulate command.
type simulateFlags struct {
	list, json bool
	size       count
	seed       uint64
}

func newSimulateCommand() *cobra.Command {
	o := &simulateFlags{size: 100}
	cmd := &cobra.Command{
		Use:   "simulate SCENARIO...",
		Short: "Break a network of invented nodes, and check it",
		Example: `iris simulate kill-50
iris simulate split --size 1000 --seed 7
iris simulate --list`,
		Long: `Runs nodes in invented time, breaks things as the scenario says, and checks all the
while that the rules of the network hold. The nodes decide by the same code as those
of "iris node"; only their clocks, links and hosts are made up. A run is a function
of its scenario, size and seed: the same three give the same again.

If a rule did not hold the exit status is 1, and the command is shown that runs it
once more.`,
		Args: func(_ *cobra.Command, args []string) error { return o.check(args) },
		ValidArgsFunction: func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
			for _, s := range sim.All(1) {
				names = append(names, cobra.CompletionWithDesc(s.Name, s.Text))
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.list, "list", false, "list the scenarios")
	f.Var(&o.size, "size", "how many nodes")
	f.Uint64Var(&o.seed, "seed", 1, "`NUMBER` that all chance in the run comes from")
	f.BoolVar(&o.json, "json", false, "write an object for each scenario")
	cmd.AddCommand(newGatesCommand())
	return cmd
}

func (o *simulateFlags) check(args []string) error {
	switch {
	case o.list && len(args) > 0:
		return fmt.Errorf("unexpected argument %q: --list runs nothing", args[0])
	case !o.list && len(args) == 0:
		return errors.New(`name a scenario: "iris simulate --list" lists them`)
	}
	for _, name := range args {
		if _, ok := sim.Find(name, int(o.size)); !ok {
			return fmt.Errorf(`there is no scenario %q: "iris simulate --list" lists them`, name)
		}
	}
	return nil
}

func (o *simulateFlags) run(cmd *cobra.Command, args []string) error {
	if o.list {
		return o.listAll(cmd.OutOrStdout())
	}
	scenarios := make([]sim.Scenario, len(args))
	for i, name := range args {
		scenarios[i], _ = sim.Find(name, int(o.size))
	}
	return o.runAll(cmd.OutOrStdout(), cmd.ErrOrStderr(), scenarios)
}

func (o *simulateFlags) runAll(out, talk io.Writer, scenarios []sim.Scenario) error {
	var broken []string // what to type to see it again
	for _, s := range scenarios {
		line := newProgress(talk)
		r := sim.Run(s, o.seed, func(p sim.Progress) {
			line.show(fmt.Sprintf("%s: %d of %d s, %d nodes, %d of them active, %d links, %d events, %d rules broken",
				s.Name, int(p.At.Seconds()), int(p.Total.Seconds()), p.Nodes, p.Active, p.Links, p.Events, p.Broken))
		})
		line.clear()
		if err := o.report(out, r); err != nil {
			return err
		}
		if !r.OK() {
			broken = append(broken, fmt.Sprintf("iris simulate %s --size %d --seed %d", s.Name, s.Size, o.seed))
		}
	}
	if len(broken) > 0 {
		return fmt.Errorf("rules did not hold; the same again: %s", strings.Join(broken, " && "))
	}
	return nil
}

func (o *simulateFlags) listAll(w io.Writer) error {
	t := newTable(w)
	for _, s := range sim.All(int(o.size)) {
		if !o.json {
			t.row(s.Name, s.Text)
		} else if err := writeJSON(w, map[string]string{"scenario": s.Name, "text": s.Text}); err != nil {
			return err
		}
	}
	return t.Flush()
}

// report writes what came of a run, for people or for machines.
func (o *simulateFlags) report(w io.Writer, r sim.Report) error {
	if !o.json {
		var b strings.Builder
		r.Print(&b)
		_, err := io.WriteString(w, b.String())
		return err
	}
	return writeJSON(w, recordOf(r))
}

// A record is a report for machines.
type record struct {
	Scenario   string   `json:"scenario"`
	Size       int      `json:"size"`
	Seed       uint64   `json:"seed"`
	Held       bool     `json:"held"`
	Broken     int      `json:"broken"`
	Violations []string `json:"violations"`
	Figures    []figure `json:"figures"`
	Events     uint64   `json:"events"`
	Seconds    float64  `json:"seconds"` // of invented time
	Trace      string   `json:"trace"`
}

type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func recordOf(r sim.Report) record {
	o := record{
		Scenario: r.Scenario, Size: r.Size, Seed: r.Seed, Held: r.OK(), Broken: r.Broken,
		Violations: make([]string, len(r.Violations)), Figures: make([]figure, len(r.Figures)),
		Events: r.Events, Seconds: r.Took.Seconds(), Trace: fmt.Sprintf("%016x", r.Trace),
	}
	for i, v := range r.Violations {
		o.Violations[i] = v.String()
	}
	for i, f := range r.Figures {
		o.Figures[i] = figure(f)
	}
	return o
}

// figure returns the figure of that name; nothing if there is none.
func (r *record) figure(name string) figure {
	for _, f := range r.Figures {
		if f.Name == name {
			return f
		}
	}
	return figure{}
}

// A progress is a line of a terminal that is written over; elsewhere it is nothing.
type progress struct {
	w     io.Writer
	shown time.Time
}

func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		w = nil
	}
	return &progress{w: w}
}

// show writes text, but not more often than anybody reads.
func (p *progress) show(text string) {
	const pause = time.Second / 10
	if p.w != nil && time.Since(p.shown) >= pause {
		p.shown = time.Now()
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
	}
}

func (p *progress) clear() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
