package node

import (
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/wire"
)

const (
	mostScrapes = 4 // at a time
	mostNames   = 100
	mostLabel   = 200 // octets of a name
	otherNames  = "other"
)

// metrics answers with what docs/metrics.md lists, for Prometheus.
func (n *Node) metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(
		&collector{n: n, named: make(map[string]bool)},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		MaxRequestsInFlight: mostScrapes,
		ErrorLog:            slog.NewLogLogger(n.config.Log.Handler(), slog.LevelWarn),
	})
}

// A collector makes metrics of a reading of the node whenever it is asked, so nothing that
// is counted costs more for being exported.
type collector struct {
	n *Node

	mu    sync.Mutex
	named map[string]bool // the clusters with gauges of their own: the first seen, for good
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, to) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	r, err := c.n.read()
	if err != nil {
		to <- prometheus.NewInvalidMetric(prometheus.NewDesc("iris_up", "Whether the node runs.", nil, nil), err)
		return
	}
	for _, f := range r.counters() {
		values := make(map[string]float64)
		for _, one := range f.of {
			values[label(one.value)] += float64(one.count)
		}
		if f.name != "" {
			export(to, prometheus.CounterValue, f.name, f.label, f.help, values)
		}
	}
	paused := float64(c.n.plane.Drops.Paused.Load()) / 1e9
	export(to, prometheus.CounterValue, "iris_publish_paused_seconds_total", "", "Time that publishers waited for links that were full and moved.", alone(paused))
	c.gauges(to, r)
	c.latencies(to)
}

// gauges are figures that go up and down.
func (c *collector) gauges(to chan<- prometheus.Metric, r *reading) {
	n := c.n
	gauge := func(name, label, help string, values map[string]float64) {
		export(to, prometheus.GaugeValue, name, label, help, values)
	}
	network := n.config.Network
	if n.config.Dev {
		network = "dev"
	}
	build := prometheus.NewDesc("iris_build_info", "The node's software and network; the value is 1.", []string{"version", "goversion", "network"}, nil)
	to <- prometheus.MustNewConstMetric(build, prometheus.GaugeValue, 1, label(n.config.Version), runtime.Version(), label(network))
	gauge("iris_start_time_seconds", "", "When the node was made, since 1970.", alone(float64(n.started.UnixMilli())/1e3))
	gauge("iris_programs", "", "Programs that are attached.", alone(float64(r.programs)))
	gauge("iris_tunnels", "", "Tunnels that are open.", alone(float64(n.tunnels.Open.Load())))
	gauge("iris_memory_used_bytes", "", "What payload holds.", alone(float64(n.plane.Budget.Used())))
	gauge("iris_memory_limit_bytes", "", "What payload may hold.", alone(float64(n.plane.Budget.Limit())))
	gauge("iris_topics", "", "Topics with members on this node, or that its programs use.", alone(float64(len(r.topics))))
	gauge("iris_clusters", "", "Clusters with members on this node, or that its programs use.", alone(float64(len(r.clusters))))

	members, load := make(map[string]float64), make(map[string]float64)
	for _, one := range c.first(r.clusters) {
		members[one.Name] += float64(one.Members)
		load[one.Name] += float64(one.Load)
	}
	gauge("iris_cluster_members", "cluster", "Members on this node; clusters beyond the first 100 are counted as other.", members)
	gauge("iris_cluster_load", "cluster", "Requests in the hands of members on this node.", load)

	states, own := make(map[string]float64), make(map[string]float64)
	for s := wire.Solo; s <= wire.InLeaving; s++ {
		states[s.String()], own[s.String()] = 0, 0
	}
	for _, k := range r.known {
		states[k.State.String()]++
	}
	own[r.state.String()] = 1
	gauge("iris_node_state", "state", "1 for what this node is in the network.", own)
	gauge("iris_nodes", "state", "Other nodes that are known, by what they are.", states)
	c.abroad(gauge, r)
}

// abroad are the gauges of what there is of other nodes.
func (c *collector) abroad(gauge func(name, label, help string, values map[string]float64), r *reading) {
	waiting := map[string]float64{"control": 0, "routed": 0, "requests": 0, "publications": 0, "bulk": 0}
	sources := make(map[string]float64)
	links, abroad, lonely := 0, 0, 1.0
	if w := c.n.network; w != nil {
		for _, link := range w.links.Links() {
			links++
			n := link.Counters()
			waiting["control"] += float64(n.Control)
			waiting["routed"] += float64(n.Routed)
			waiting["requests"] += float64(n.Waiting[wire.Requests])
			waiting["publications"] += float64(n.Waiting[wire.Publications])
			waiting["bulk"] += float64(n.Waiting[wire.Bulk])
		}
		abroad = w.splice.Open()
		if !w.standing().Alone {
			lonely = 0
		}
	}
	for _, s := range r.finder.Sources {
		up := 1.0
		if s.Ended != nil || s.Trouble != nil {
			up = 0
		}
		sources[label(s.Name)] = up
	}
	gauge("iris_alone", "", "1: no other node is known.", alone(lonely))
	gauge("iris_links", "", "Links to other nodes.", alone(float64(links)))
	gauge("iris_tunnels_abroad", "", "Of the open tunnels, those to programs of other nodes.", alone(float64(abroad)))
	gauge("iris_queue_bytes", "lane", "What waits in links to other nodes.", waiting)
	gauge("iris_discovery_source_up", "source", "0: this way to find other nodes has ended, or is in trouble.", sources)
	gauge("iris_discovery_waiting", "", "Nodes and addresses that were found and are dialled, or will be.", alone(float64(r.finder.Waiting)))
}

// first gives clusters the names of their gauges: those that were not among the first
// that were ever seen have one together.
func (c *collector) first(clusters []messaging.Name) []messaging.Name {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := []messaging.Name{{Name: otherNames}}
	for _, one := range clusters {
		one.Name = label(one.Name)
		switch {
		case c.named[one.Name]:
		case len(c.named) < mostNames:
			c.named[one.Name] = true
		default:
			one.Name = otherNames
		}
		out = append(out, one)
	}
	return out
}

// latencies are how long answers took, by cluster.
func (c *collector) latencies(to chan<- prometheus.Metric) {
	type histogram struct {
		count   uint64
		sum     float64
		buckets map[float64]uint64
	}
	all := make(map[string]*histogram)
	c.n.plane.Latencies(func(cluster string, l *messaging.Latency) {
		if cluster = label(cluster); cluster == "" {
			cluster = otherNames
		}
		h := all[cluster]
		if h == nil {
			h = &histogram{buckets: make(map[float64]uint64)}
			all[cluster] = h
		}
		below := uint64(0)
		for i, bound := range messaging.LatencyBounds {
			below += l.Classes[i].Load()
			h.buckets[bound.Seconds()] += below
		}
		h.count += below + l.Classes[len(messaging.LatencyBounds)].Load()
		h.sum += float64(l.Sum.Load()) / 1e9
	})
	desc := prometheus.NewDesc("iris_request_duration_seconds",
		"From when a request of a program of this node was taken in to its answer; clusters beyond the first 100 are counted as other.", []string{"cluster"}, nil)
	for cluster, h := range all {
		to <- prometheus.MustNewConstHistogram(desc, h.count, h.sum, h.buckets, cluster)
	}
}

// alone is the value of a metric without a label.
func alone(v float64) map[string]float64 { return map[string]float64{"": v} }

// export sends the metrics of one name.
func export(to chan<- prometheus.Metric, kind prometheus.ValueType, name, by, help string, values map[string]float64) {
	if by == "" {
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), kind, values[""])
		return
	}
	desc := prometheus.NewDesc(name, help, []string{by}, nil)
	for v, n := range values {
		to <- prometheus.MustNewConstMetric(desc, kind, n, v)
	}
}

// label makes a name fit to be a label: valid, and not so long that a hundred of them
// matter.
func label(name string) string {
	if len(name) > mostLabel {
		name = name[:mostLabel] + "..."
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}
