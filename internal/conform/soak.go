package conform

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
)

// Soak plays the timed ones of the cases, with the limits as they are, so many
// times over sockets, each time with a node of its own. It writes to out what
// failed, and at the end a table of how often. Limits of a millisecond are at
// the mercy of the machine: judge the rate. Nothing else of the suite may run
// meanwhile.
func Soak(env Env, cases []Case, rounds int, out io.Writer) {
	defer func(was bool) { Strict = was }(Strict)
	Strict = true
	failures := make(map[string]int)
	for range rounds {
		for _, c := range cases {
			if c.Timed && c.virtual == "" && !passes(env, c, out) {
				failures[c.Name]++
			}
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "runs\tfailures\trate\t  case\t")
	for _, c := range cases {
		if c.Timed && c.virtual == "" {
			n := failures[c.Name]
			fmt.Fprintf(table, "%d\t%d\t%.1f %%\t  %s\t\n", rounds, n, 100*float64(n)/float64(rounds), c.Name)
		}
	}
	table.Flush()
}

// passes plays a case once.
func passes(env Env, c Case, out io.Writer) bool {
	r := &recorder{name: c.Name, out: out}
	done := make(chan struct{})
	go func() { // which Fatal can end
		defer close(done)
		defer r.cleanUp()
		n := env.Start(r)
		n.Close = sync.OnceFunc(n.Close)
		defer n.Close()
		c.Run(r, n)
	}()
	<-done
	return !r.Failed()
}

// A recorder takes what a case reports. It is a testing.TB as far as cases and
// nodes need one.
type recorder struct {
	testing.TB // nil
	name       string
	out        io.Writer

	mu       sync.Mutex
	failed   bool
	cleanups []func()
}

func (r *recorder) Name() string { return r.name }
func (r *recorder) Helper()      {}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// cleanUp runs the functions given to Cleanup, the last one first.
func (r *recorder) cleanUp() {
	for {
		r.mu.Lock()
		n := len(r.cleanups)
		if n == 0 {
			r.mu.Unlock()
			return
		}
		f := r.cleanups[n-1]
		r.cleanups = r.cleanups[:n-1]
		r.mu.Unlock()
		f()
	}
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// Log drops what is no failure.
func (r *recorder) Log(...any)          {}
func (r *recorder) Logf(string, ...any) {}

func (r *recorder) Fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) FailNow() {
	r.Fail()
	runtime.Goexit()
}

func (r *recorder) Error(args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	fmt.Fprintf(r.out, "%s: %s\n", r.name, strings.TrimSpace(fmt.Sprintln(args...)))
}

func (r *recorder) Errorf(format string, args ...any) {
	r.Error(fmt.Sprintf(format, args...))
}

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}
