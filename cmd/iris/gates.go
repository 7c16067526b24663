package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris/internal/sim"
)

// gateFlags are the flags of the gates command.
type gateFlags struct {
	reduced, show, json bool
	seeds               count
	results             string
}

func newGatesCommand() *cobra.Command {
	o := &gateFlags{results: "gates.jsonl"}
	cmd := &cobra.Command{
		Use:   "gates [GATE...]",
		Short: "Run the experiments with limits, and keep their figures",
		Example: `iris simulate gates --reduced
iris simulate gates 1 9 --seeds 10 --results gates.jsonl
iris simulate gates --show`,
		Long: `Runs the gates of docs/overlay.md, all or those that are named, one scenario, size and
seed after another. What came of each is added to the file of results as a line of
JSON, and what this version of the program has there already is not run again: stop
it whenever you like, and go on with the same command.

In the end it shows the worst figure over all seeds beside each limit. If one is
missed, or a rule was broken, the exit status is 1. All of it takes many hours.`,
		Args: func(_ *cobra.Command, args []string) error { return o.check(args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.OutOrStdout(), cmd.ErrOrStderr(), args)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.reduced, "reduced", false, "few nodes and one seed: for every change")
	f.Var(&o.seeds, "seeds", "how many seeds, instead of as many as the gate says")
	f.StringVar(&o.results, "results", o.results, "`FILE` of results")
	f.BoolVar(&o.show, "show", false, "run nothing: show what is there")
	f.BoolVar(&o.json, "json", false, "write an object for each limit")
	return cmd
}

func (o *gateFlags) check(args []string) error {
	all := sim.Gates(o.reduced)
	for _, name := range args {
		if !slices.ContainsFunc(all, func(g sim.Gate) bool { return g.Name == name }) {
			names := make([]string, len(all))
			for i, g := range all {
				names[i] = g.Name
			}
			return fmt.Errorf("there is no gate %q: there are %s", name, strings.Join(names, " "))
		}
	}
	return nil
}

// gates returns the gates to run.
func (o *gateFlags) gates(names []string) []sim.Gate {
	gates := sim.Gates(o.reduced)
	if len(names) > 0 {
		gates = slices.DeleteFunc(gates, func(g sim.Gate) bool { return !slices.Contains(names, g.Name) })
	}
	for _, g := range gates {
		for i := range g.Trials {
			if o.seeds > 0 {
				g.Trials[i].Seeds = int(o.seeds)
			}
		}
	}
	return gates
}

func (o *gateFlags) run(out, talk io.Writer, names []string) error {
	results, err := readResults(o.results)
	if err != nil {
		return err
	}
	gates := o.gates(names)
	if !o.show {
		if err := results.complete(talk, gates); err != nil {
			return err
		}
	}
	return o.write(out, gates, results)
}

// A result is what came of a run, as a line of the file of results.
type result struct {
	Version string  `json:"version"`
	Took    float64 `json:"took"` // seconds of real time
	record
}

// results are those of this version, in a file.
type results struct {
	path    string
	version string
	all     []result
}

// readResults reads the file, if there is one. A line that is not whole was being
// written when the last run was stopped: it is skipped.
func readResults(path string) (*results, error) {
	r := &results{path: path, version: buildText()}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		var one result
		if json.Unmarshal(line, &one) == nil && one.Version == r.version {
			r.all = append(r.all, one)
		}
		if err == io.EOF {
			return r, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read results: %w", err)
		}
	}
}

// buildText tells this build from others: one of a tree with changes by its contents.
func buildText() string {
	version := versionText()
	if version != "devel" && !strings.HasSuffix(version, "dirty") {
		return version
	}
	path, err := os.Executable()
	if err != nil {
		return version
	}
	f, err := os.Open(path)
	if err != nil {
		return version
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return version
	}
	return version + " " + hex.EncodeToString(h.Sum(nil)[:6])
}

func (r *results) find(t sim.Trial, seed uint64) (record, bool) {
	for i := range r.all {
		if got := &r.all[i].record; got.Scenario == t.Scenario && got.Size == t.Size && got.Seed == seed {
			return *got, true
		}
	}
	return record{}, false
}

// complete runs what is not there, and adds it to the file.
func (r *results) complete(talk io.Writer, gates []sim.Gate) error {
	for _, g := range gates {
		for _, t := range g.Trials {
			for seed := uint64(1); seed <= uint64(t.Seeds); seed++ {
				if _, ok := r.find(t, seed); ok {
					continue
				}
				if err := r.add(talk, g, t, seed); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (r *results) add(talk io.Writer, g sim.Gate, t sim.Trial, seed uint64) error {
	line, began := newProgress(talk), time.Now()
	report := t.Run(seed, func(p sim.Progress) {
		line.show(fmt.Sprintf("gate %s, %s, %d nodes, seed %d of %d: %d of %d s, %d rules broken",
			g.Name, t.Scenario, t.Size, seed, t.Seeds, int(p.At.Seconds()), int(p.Total.Seconds()), p.Broken))
	})
	line.clear()
	one := result{r.version, time.Since(began).Seconds(), recordOf(report)}
	r.all = append(r.all, one)
	f, err := os.OpenFile(r.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("keep results: %w", err)
	}
	if err := errors.Join(writeJSON(f, one), f.Close()); err != nil {
		return fmt.Errorf("keep results: %w", err)
	}
	return nil
}

// A verdict is the worst of a figure over the seeds that were run.
type verdict struct {
	Gate     string  `json:"gate"`
	Scenario string  `json:"scenario"`
	Size     int     `json:"size"`
	Seeds    int     `json:"seeds"`
	Of       int     `json:"of"`
	Figure   string  `json:"figure"`
	Limit    string  `json:"limit"`
	Worst    float64 `json:"worst"`
	Unit     string  `json:"unit"`
	Held     bool    `json:"held"`
}

func (v verdict) text() string {
	switch {
	case v.Seeds == 0:
		return "not run"
	case v.Held:
		return "passed"
	}
	return "missed"
}

// judge returns what is to be said of a trial: of its rules, and of each limit.
func (r *results) judge(g sim.Gate, t sim.Trial) []verdict {
	var runs []record
	for seed := uint64(1); seed <= uint64(t.Seeds); seed++ {
		if one, ok := r.find(t, seed); ok {
			runs = append(runs, one)
		}
	}
	base := verdict{Gate: g.Name, Scenario: t.Scenario, Size: t.Size, Seeds: len(runs), Of: t.Seeds, Held: true}
	rules := base
	rules.Figure, rules.Limit, rules.Unit = "rules broken", "<= 0", ""
	all := []verdict{rules}
	for _, one := range runs {
		all[0].Worst = max(all[0].Worst, float64(one.Broken))
	}
	all[0].Held = all[0].Worst == 0
	for _, l := range t.Limits {
		v := base
		v.Figure, v.Limit = l.Figure, l.String()
		for i, one := range runs {
			f := one.figure(l.Figure)
			if i == 0 || l.Least == (f.Value < v.Worst) {
				v.Worst, v.Unit = f.Value, f.Unit
			}
		}
		v.Held = l.Holds(v.Worst)
		all = append(all, v)
	}
	return all
}

func (o *gateFlags) write(out io.Writer, gates []sim.Gate, r *results) error {
	t := newTable(out)
	missed := 0
	if !o.json {
		t.row("gate", "scenario", "nodes", "seeds", "figure", "limit", "worst", "")
	}
	for _, g := range gates {
		for _, trial := range g.Trials {
			for _, v := range r.judge(g, trial) {
				if v.Seeds > 0 && !v.Held {
					missed++
				}
				if !o.json {
					t.row(v.Gate, v.Scenario, v.Size, fmt.Sprintf("%d/%d", v.Seeds, v.Of), v.Figure, v.Limit, sim.Number(v.Worst)+" "+v.Unit, v.text())
				} else if err := writeJSON(out, v); err != nil {
					return err
				}
			}
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if missed > 0 {
		return fmt.Errorf("%d limits were missed: the lines of %s say which rules were broken, and with what seed", missed, r.path)
	}
	return nil
}
