package node

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/messaging"
	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
)

// lookLimit is what the root of a name, and then the links to member nodes, are waited
// for.
const lookLimit = time.Second

// WhyStatus is what decides who serves the next request to a cluster, and who served the
// last ones. Candidates are sorted.
type WhyStatus struct {
	Cluster string `json:"cluster"`
	Node    string `json:"node"` // the one that chooses, which was asked; empty: dev

	Directory  DirectoryStatus   `json:"directory"`
	Members    int               `json:"members"` // on this node
	Load       int               `json:"load"`    // requests in the hands of those
	Waiting    int               `json:"waiting"` // requests of this node's programs that nobody takes for now
	Candidates []CandidateStatus `json:"candidates"`

	Choices []ChoiceStatus `json:"choices"` // of the last minute, 16 at most, the newest first
	Kept    bool           `json:"kept"`    // choices were kept before this question; from now on they are, for a minute
}

// DirectoryStatus is how a node knows which others have members of a name.
type DirectoryStatus struct {
	Key       string `json:"key"`       // where the name is on the ring; empty: dev
	Root      string `json:"root"`      // the node closest to it, which is to know; empty: nobody
	Known     bool   `json:"known"`     // it was asked before, and tells of changes
	Answered  bool   `json:"answered"`  // else nothing is known of other nodes
	Unsure    bool   `json:"unsure"`    // it may not know all yet
	Redirects int    `json:"redirects"` // times that the question was sent on
}

// CandidateStatus is a node with members of a cluster. The last load it told is zero while
// it has told nothing.
type CandidateStatus struct {
	Node     string  `json:"node"`
	Self     bool    `json:"self"`
	Linked   bool    `json:"linked"` // or it is this node; others are chosen if none of these takes a request
	Via      string  `json:"via"`    // who hands on what is for it, if there is no link
	InFlight int     `json:"in_flight"`
	Workers  int     `json:"workers"` // requests it works on at once
	Handler  float64 `json:"handler_ms"`
	RTT      float64 `json:"rtt_ms"`
	Expected float64 `json:"expected_ms"` // handler x max(1, (in flight + 1) / workers) + round trip
	Age      float64 `json:"age_ms"`      // of what it told
	Fresh    bool    `json:"fresh"`       // that still counts
	Failures int     `json:"failures"`    // in a row
	Ejected  float64 `json:"ejected_ms"`  // for how long it is passed over for them
	Full     float64 `json:"full_ms"`     // for how long it is passed over for its full queue
	Chosen   uint64  `json:"chosen"`      // times since it became a candidate

	// Chance is how likely the next request goes there, unless it is turned down;
	// negative: 16 are drawn at random first.
	Chance float64 `json:"chance"`
}

// ChoiceStatus is a choice that was made.
type ChoiceStatus struct {
	At       time.Time `json:"at"`
	Node     string    `json:"node"` // empty: nobody took it
	How      string    `json:"how"`
	Expected float64   `json:"expected_ms"` // until the answer; 0: nothing was known
}

// idText returns an id as answers have it: nobody's is empty.
func idText(id ring.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

// resolve finds out who has members of a cluster, as the first request to it would.
func (n *Node) resolve(cluster string) (s DirectoryStatus, err error) {
	if err := checkCluster(cluster); err != nil {
		return s, err
	}
	if n.network == nil {
		return s, nil
	}
	name := n.loop.Core.Key(core.Cluster, cluster)
	var r directory.Resolution
	room := true
	if !n.do(func(now time.Time, _ *queue.Batch) {
		s.Known = n.loop.Core.Resolution(name).Answered
		room = n.loop.Ask(now, cluster)
	}) {
		return s, ErrClosed
	}
	if !room {
		return s, errors.New("too many names are in use to ask for one more: ask again in a minute")
	}
	n.network.until(lookLimit, func() bool {
		r = n.loop.Core.Resolution(name)
		return r.Answered
	})
	s.Key, s.Root, s.Answered, s.Unsure, s.Redirects = name.Key.String(), idText(r.Root), r.Answered, r.Unsure, r.Redirects
	if !s.Known { // links to them are being dialled
		n.network.until(lookLimit, func() bool {
			w := n.plane.Why(time.Now(), cluster, false)
			return !slices.ContainsFunc(w.Nodes, func(c messaging.Candidate) bool { return !c.Linked })
		})
	}
	return s, nil
}

// Why returns what decides who serves the next request to a cluster. With keep set
// choices are kept from now on, for a minute.
func (n *Node) Why(cluster string, keep bool) (*WhyStatus, error) {
	dir, err := n.resolve(cluster)
	if err != nil {
		return nil, err
	}
	var why messaging.Why
	if !n.do(func(now time.Time, _ *queue.Batch) { why = n.plane.Why(now, cluster, keep) }) {
		return nil, ErrClosed
	}
	s := &WhyStatus{
		Cluster: cluster, Node: idText(n.plane.Self), Directory: dir,
		Members: why.Members, Load: why.Load, Waiting: why.Waiting,
		Candidates: []CandidateStatus{}, Choices: []ChoiceStatus{}, Kept: why.Looking,
	}
	for _, c := range why.Nodes {
		s.Candidates = append(s.Candidates, CandidateStatus{
			Node: idText(c.Node), Self: c.Node == n.plane.Self, Linked: c.Linked, Via: idText(c.Via),
			InFlight: c.InFlight, Workers: c.Workers, Handler: milliseconds(c.Handler), RTT: milliseconds(c.RTT),
			Expected: milliseconds(c.Expected), Age: milliseconds(c.Age), Fresh: c.Fresh,
			Failures: c.Failures, Ejected: milliseconds(c.Ejected), Full: milliseconds(c.Full), Chosen: c.Chosen, Chance: c.Chance,
		})
	}
	for _, c := range why.Choices {
		s.Choices = append(s.Choices, ChoiceStatus{At: c.At, Node: idText(c.Node), How: c.How, Expected: milliseconds(c.Expected)})
	}
	return s, nil
}

func (n *Node) answerWhy(w http.ResponseWriter, r *http.Request) {
	answer(w, func() (*WhyStatus, error) { return n.Why(r.URL.Query().Get("cluster"), true) })
}
