package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/project-iris/iris/node"
)

// rateTime is how long lies between the two looks at a node that give rates.
const rateTime = time.Second

// statusRates are what was sent each second.
type statusRates struct {
	Requests   float64             `json:"requests"`
	Replies    float64             `json:"replies"`
	Broadcasts float64             `json:"broadcasts"`
	Events     float64             `json:"events"`
	Tunnels    float64             `json:"tunnels"`
	Links      map[string]linkRate `json:"links"` // by node
	Clusters   map[string]nameRate `json:"clusters"`
	Topics     map[string]nameRate `json:"topics"`
}

// nameRate is what a cluster or topic carries each second; see node.NameStatus.
type nameRate struct {
	Taken   float64 `json:"taken"`
	Passed  float64 `json:"passed"`
	Sent    float64 `json:"sent"`
	Arrived float64 `json:"arrived"`
}

func (r nameRate) all() float64 { return r.Taken + r.Passed + r.Sent + r.Arrived }

// linkRate is how many octets a second pass through a link.
type linkRate struct {
	Received float64 `json:"received"`
	Sent     float64 `json:"sent"`
}

// showRates looks at the node, of which first is the status, a second time.
func showRates(w io.Writer, first json.RawMessage, again func() (json.RawMessage, error), asJSON bool) error {
	looked := time.Now()
	time.Sleep(rateTime)
	second, err := again()
	if err != nil {
		return err
	}
	took := time.Since(looked).Seconds()
	before, err := readStatus(first)
	if err != nil {
		return err
	}
	now, err := readStatus(second)
	if err != nil {
		return err
	}
	if !before.Started.Equal(now.Started) {
		return errors.New("the node was started anew meanwhile: ask again")
	}
	rates := ratesOf(before, now, took)
	if !asJSON {
		return writeTable(w, now, rates)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		*node.Status
		Rates *statusRates `json:"rates"`
	}{now, rates})
}

// ratesOf returns what was sent between two looks that are so many seconds apart.
func ratesOf(before, now *node.Status, seconds float64) *statusRates {
	per := func(from, to uint64) float64 { return float64(to-min(from, to)) / seconds }
	r := &statusRates{
		Requests:   per(before.Sent.Requests, now.Sent.Requests),
		Replies:    per(before.Sent.Replies, now.Sent.Replies),
		Broadcasts: per(before.Sent.Broadcasts, now.Sent.Broadcasts),
		Events:     per(before.Sent.Events, now.Sent.Events),
		Tunnels:    per(before.Sent.Tunnels, now.Sent.Tunnels),
		Links:      map[string]linkRate{},
	}
	names := func(before, now []node.NameStatus) map[string]nameRate {
		from, rates := make(map[string]node.NameStatus), make(map[string]nameRate)
		for _, n := range before {
			from[n.Name] = n
		}
		for _, n := range now {
			f := from[n.Name]
			rates[n.Name] = nameRate{per(f.Taken, n.Taken), per(f.Passed, n.Passed), per(f.Sent, n.Sent), per(f.Arrived, n.Arrived)}
		}
		return rates
	}
	r.Clusters, r.Topics = names(before.Clusters, now.Clusters), names(before.Topics, now.Topics)
	for _, l := range now.Links {
		from := node.LinkStatus{}
		for _, o := range before.Links {
			if o.Node == l.Node && o.Since.Equal(l.Since) {
				from = o
			}
		}
		r.Links[l.Node] = linkRate{per(from.Received, l.Received), per(from.Sent, l.Sent)}
	}
	return r
}

// A table is written for people, in columns.
type table struct {
	*tabwriter.Writer
	width int // of the terminal; 0: it is none
}

func newTable(w io.Writer) table {
	return table{tabwriter.NewWriter(w, 0, 0, len(gap), ' ', 0), terminalWidth(w)}
}

func (t table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
	}
	fmt.Fprintln(t, strings.Join(texts, "\t"))
}

// grid writes a grid that is not empty.
func (t table) grid(g *grid) {
	if len(g.rows) == 0 {
		return
	}
	t.row()
	for _, l := range g.lines(t.width) {
		t.row(l)
	}
}

// counts writes those of the counters that are not 0.
func (t table) counts(title string, of map[string]uint64) {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(of)), func(name string) bool { return of[name] == 0 })
	if len(names) == 0 {
		return
	}
	t.row()
	t.row(title)
	for _, name := range names {
		t.row(printable(name), of[name])
	}
}

// writeTable writes s for people. The rates may be nil: then the mean since the
// start of the node takes their place.
func writeTable(w io.Writer, s *node.Status, rates *statusRates) error {
	t := newTable(w)
	t.row("network", networkName(s))
	if !s.Dev {
		t.row("node", fmt.Sprintf("%s, %s", s.Node, s.State))
		t.row("address", cmp.Or(strings.Join(s.Address, " "), "none: it only dials others"))
	}
	t.row("relay", strings.Join(s.Relay, " "))
	if s.Admin != "" {
		t.row("admin", s.Admin)
	}
	up := time.Since(s.Started)
	t.row("up", up.Truncate(time.Second))
	t.row("process", fmt.Sprintf("%d, version %s", s.PID, s.Version))
	t.row("programs", s.Programs)
	tunnels := fmt.Sprint(s.Tunnels)
	if s.Abroad > 0 {
		tunnels += fmt.Sprintf(", %d of them to other nodes", s.Abroad)
	}
	t.row("tunnels", tunnels)
	t.row("memory", fmt.Sprintf("%s of %s hold payload", octets(s.Memory.Used), octets(s.Memory.Limit)))

	title := "NOW PER SECOND"
	if rates == nil {
		title = "MEAN PER SECOND"
		rates = ratesOf(&node.Status{}, s, max(up.Seconds(), 1))
		rates.Links = nil
	}
	t.row()
	t.row("SENT BY PROGRAMS", "IN ALL", title)
	t.row("requests", s.Sent.Requests, rateText(rates.Requests))
	t.row("replies", s.Sent.Replies, rateText(rates.Replies))
	t.row("broadcasts", s.Sent.Broadcasts, rateText(rates.Broadcasts))
	t.row("events", s.Sent.Events, rateText(rates.Events))
	t.row("tunnels", s.Sent.Tunnels, rateText(rates.Tunnels))
	if s.Retried > 0 {
		t.row("requests given to another member", s.Retried)
	}

	t.grid(clusterGrid(s))
	t.grid(topicGrid(s))
	t.grid(peerGrid(s))
	t.grid(linkGrid(s, rates))
	t.discovery(s.Discovery)
	t.counts("CONNECTIONS ENDED", s.Ended)
	t.counts("LINKS ENDED", s.LinksEnded)
	t.counts("TUNNELS TO OTHER NODES ENDED", s.TunnelsEnded)
	t.counts("DROPPED", s.Dropped)
	t.counts("MENDED", s.Mended)
	t.counts("REFUSED BETWEEN NODES", s.Refused)
	return t.Flush()
}

// discovery writes how other nodes are looked for.
func (t table) discovery(d *node.DiscoveryStatus) {
	if d == nil {
		return
	}
	t.row()
	t.row("OTHER NODES BY", "FOUND", "STATE")
	for _, s := range d.Sources {
		t.row(s.Name, s.Found, cmp.Or(visible(s.Ended), visible(s.Trouble), "well"))
	}
	if len(d.Interfaces) > 0 {
		t.row()
		t.row("interfaces", printable(strings.Join(d.Interfaces, " ")))
	}
	if d.Interval > 0 {
		t.row("beacons", fmt.Sprintf("one in %v at most", time.Duration(d.Interval*float64(time.Second))))
	}
	if d.Scanning {
		t.row("scan", "under way")
	}
	t.counts("DISCOVERY PACKETS SENT", d.Sent)
	t.counts("DISCOVERY PACKETS HEARD", d.Heard)
	t.counts("DISCOVERY PACKETS REFUSED", d.Refused)
	t.counts("DIALS OF WHAT WAS FOUND", d.Dials)
}

// short returns the digits of a node's id that logs show.
func short(id string) string { return id[:min(8, len(id))] }

// rateText returns a rate as people read it.
func rateText(r float64) string {
	switch {
	case r == 0:
		return "0"
	case r < 10:
		return fmt.Sprintf("%.2f", r)
	}
	return fmt.Sprintf("%.0f", r)
}
