package node

import (
	"bytes"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/messaging"
)

// scrape returns what a node answers to /metrics.
func scrape(t testing.TB, n *Node) string {
	t.Helper()
	w := httptest.NewRecorder()
	n.answers().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("GET /metrics: %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestMetricsAreWellFormed has promtool, of the Prometheus project, check them.
func TestMetricsAreWellFormed(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("IRIS_HOSTS") == "required" {
			t.Fatal(err)
		}
		t.Skip("promtool is not installed: Debian has it in the package prometheus")
	}
	text := scrape(t, startNetwork(t, 1)[0])
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = bytes.NewBufferString(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// metric is a name, and its labels with the values they have.
type metric map[string]map[string]bool

var series = regexp.MustCompile(`^(\w+?)(?:_bucket|_sum|_count)?(?:{(.*)})? \S+$`)

// exported returns what a node's own metrics are.
func exported(text string) map[string]metric {
	all := make(map[string]metric)
	for line := range strings.Lines(text) {
		m := series.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || !strings.HasPrefix(line, "iris_") {
			continue
		}
		if all[m[1]] == nil {
			all[m[1]] = make(metric)
		}
		for _, l := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(m[2], -1) {
			if l[1] == "le" {
				continue
			}
			if all[m[1]][l[1]] == nil {
				all[m[1]][l[1]] = make(map[string]bool)
			}
			all[m[1]][l[1]][l[2]] = true
		}
	}
	return all
}

// TestManualListsEveryMetric compares docs/metrics.md with a node, in both directions.
func TestManualListsEveryMetric(t *testing.T) {
	doc, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	node := exported(scrape(t, startNetwork(t, 1)[0]))
	listed := make(map[string]bool)
	word := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(string(doc)) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.HasPrefix(cells[1], " `iris_") {
			continue
		}
		name := word.FindStringSubmatch(cells[1])[1]
		listed[name] = true
		has, ok := node[name]
		if !ok {
			t.Errorf("the manual lists %s, and the node has none", name)
			continue
		}
		labels, values, fixed := strings.Cut(cells[2], ":")
		var names []string
		for _, m := range word.FindAllStringSubmatch(labels, -1) {
			names = append(names, m[1])
		}
		if got := slices.Sorted(maps.Keys(has)); !slices.Equal(got, slices.Sorted(slices.Values(names))) {
			t.Errorf("%s has labels %v, in the manual %v", name, got, names)
		}
		if !fixed || !strings.Contains(values, "`") {
			continue // they are names, or codes that have a test of their own
		}
		want := make(map[string]bool)
		for _, m := range word.FindAllStringSubmatch(values, -1) {
			want[m[1]] = true
		}
		if !maps.Equal(has[names[0]], want) {
			t.Errorf("%s has %v, in the manual %v", name, slices.Sorted(maps.Keys(has[names[0]])), slices.Sorted(maps.Keys(want)))
		}
	}
	for name := range node {
		if !listed[name] {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
	}
}

// TestManyNamesMakeFewSeries has programs use 10,000 names, among them such as no label
// may be.
func TestManyNamesMakeFewSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		defer b.close()
		n := b.n
		handler := n.metrics()
		few := func() (lines int) {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			if w.Code != 200 {
				t.Fatalf("GET /metrics: %d: %s", w.Code, w.Body)
			}
			if size := w.Body.Len(); size > 1<<20 {
				t.Errorf("it answers with %d octets", size)
			}
			return strings.Count(w.Body.String(), "\n")
		}
		first := few()
		b.client("echo", echo)
		c := b.client("", nil)
		for i := range 10_000 {
			c.Broadcast(fmt.Sprint(i), nil)
		}
		for _, odd := range []string{"\xff\xfe", "a\xff", "a\xfe", `say "no" \\`, "two\nlines", otherNames, strings.Repeat("long", 250)} {
			s := b.client(odd, echo)
			if _, err := c.Request(t.Context(), odd, nil, time.Second); err != nil {
				t.Errorf("request to %.20q: %v", odd, err)
			}
			few()
			s.Close()
		}
		for i := range 300 {
			s := b.client(fmt.Sprint("served ", i), echo)
			if _, err := c.Request(t.Context(), fmt.Sprint("served ", i), nil, time.Second); err != nil {
				t.Errorf("request %d: %v", i, err)
			}
			s.Close()
		}
		last := few()
		if most := first + (mostNames+1)*(2+len(messaging.LatencyBounds)+3); last > most {
			t.Errorf("10,000 names make %d lines of %d, want %d at most", last, first, most)
		}
		text := scrape(t, n)
		for _, want := range []string{"cluster=\"\ufffd\"", `cluster="say \"no\" \\\\"`, `cluster="two\nlines"`, `cluster="other"`} {
			if !strings.Contains(text, want) {
				t.Errorf("there is no series with %s", want)
			}
		}
	})
}
