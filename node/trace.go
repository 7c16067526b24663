package node

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/ring"
)

// traceLimit is what a traced request has.
const traceLimit = 3 * time.Second

// TraceStatus is the way of a request to a cluster: who is likely to serve the next one
// and how it gets there, and what became of one that was sent.
type TraceStatus struct {
	Why  *WhyStatus    `json:"why"`
	Root PingStatus    `json:"root"`           // the node that knows who has members
	Next *WayStatus    `json:"next,omitempty"` // nil: nobody would take it now
	Sent *TracedStatus `json:"sent,omitempty"` // nil: none was sent
}

// WayStatus is the way to the candidate that the next request most likely goes to.
type WayStatus struct {
	Node    string     `json:"node"`
	Hops    int        `json:"hops"` // links on the way; 0: it is this node
	Via     string     `json:"via"`  // who hands on what is for it, if there is no link
	Ping    PingStatus `json:"ping"`
	Waiting LaneStatus `json:"waiting"` // in the link that the request would take
}

// TracedStatus is what became of a request.
type TracedStatus struct {
	Steps    []StepStatus `json:"steps"`
	Total    float64      `json:"total_ms"` // as its program waited
	Node     string       `json:"node"`     // who answered; empty: nobody
	Hops     int          `json:"hops"`     // links that the answer passed; 0: it came from this node
	Handler  float64      `json:"handler_ms"`
	Octets   int          `json:"octets"` // of the reply
	Fault    string       `json:"fault,omitempty"`
	Error    string       `json:"error,omitempty"` // there was no answer
	TimedOut bool         `json:"timed_out"`       // within 3 seconds
}

// StepStatus is one step of a request, as its origin sees it.
type StepStatus struct {
	At   float64 `json:"at_ms"` // since the program sent it
	What string  `json:"what"`
	Node string  `json:"node"`
	Via  string  `json:"via"`
}

// Trace returns the way of the next request to a cluster. With send set it sends one, with
// the body: a member works on it as on any other.
func (n *Node) Trace(ctx context.Context, cluster string, send bool, body []byte) (t *TraceStatus, err error) {
	t = new(TraceStatus)
	if t.Why, err = n.Why(cluster, false); err != nil {
		return nil, err
	}
	t.Root = n.pingID(ctx, t.Why.Directory.Root)
	t.Next = n.wayTo(ctx, t.Why.Candidates)
	if send {
		t.Sent, err = n.sendTraced(ctx, cluster, body)
	}
	return t, err
}

// wayTo returns the way to the likeliest candidate; nil: none has a chance.
func (n *Node) wayTo(ctx context.Context, candidates []CandidateStatus) *WayStatus {
	if len(candidates) == 0 {
		return nil
	}
	promise := func(c CandidateStatus) float64 {
		if !c.Fresh || c.Ejected > 0 || c.Full > 0 {
			return math.Inf(1)
		}
		return c.Expected
	}
	next := slices.MinFunc(candidates, func(a, b CandidateStatus) int {
		return cmp.Or(cmp.Compare(b.Chance, a.Chance), cmp.Compare(promise(a), promise(b))) // among many no chance is known
	})
	if next.Chance == 0 {
		return nil
	}
	way := &WayStatus{Node: next.Node, Via: next.Via, Ping: n.pingID(ctx, next.Node)}
	if way.Hops = way.Ping.Hops; next.Self {
		return way
	}
	if way.Hops == 0 { // it did not answer in time
		if way.Hops = 1; next.Via != "" {
			way.Hops = 2
		}
	}
	if hop, err := ring.Parse(cmp.Or(next.Via, next.Node)); err == nil {
		if l := n.network.links.Link(hop); l != nil {
			way.Waiting = lanes(l.Counters())
		}
	}
	return way
}

// pingID pings a node by its whole id, as answers have it.
func (n *Node) pingID(ctx context.Context, text string) PingStatus {
	id, err := ring.Parse(text)
	if err != nil || n.network == nil { // nobody, or dev
		return PingStatus{Self: n.network == nil, Answered: n.network == nil}
	}
	return n.network.ping(ctx, id)
}

// sendTraced sends a request, and follows it.
func (n *Node) sendTraced(ctx context.Context, cluster string, body []byte) (*TracedStatus, error) {
	c, err := n.Connect("", nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s := &TracedStatus{Steps: []StepStatus{}}
	var mu sync.Mutex // of s
	began := time.Now()
	c.conn.Traced = func(step messaging.Step) {
		mu.Lock()
		defer mu.Unlock()
		s.Steps = append(s.Steps, StepStatus{milliseconds(time.Since(began)), step.What.String(), idText(step.Node), idText(step.Via)})
		if step.What == messaging.Answered {
			s.Node, s.Hops, s.Handler = idText(step.Node), step.Hops, milliseconds(step.Load.HandlerTime())
		}
	}
	reply, err := c.Request(ctx, cluster, body, traceLimit)
	mu.Lock()
	defer mu.Unlock()
	out := *s // the steps of one that was given up may come later
	out.Total, out.Octets = milliseconds(time.Since(began)), len(reply)
	switch fault := (*RemoteError)(nil); {
	case errors.As(err, &fault):
		out.Fault = fault.Text
	case err != nil:
		out.Error, out.TimedOut = err.Error(), errors.Is(err, context.DeadlineExceeded)
	}
	return &out, nil
}

func (n *Node) answerTrace(w http.ResponseWriter, r *http.Request) {
	send := r.Method == http.MethodPost
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(n.config.MaxMessage)))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer(w, func() (*TraceStatus, error) { return n.Trace(r.Context(), r.URL.Query().Get("cluster"), send, body) })
}
