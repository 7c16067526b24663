package node

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/project-iris/iris/internal/queue"
)

// aliveTime is what the control loop has to answer, which takes it microseconds.
const aliveTime = time.Second

// healthz answers whether the node should go on, or be started anew.
func (n *Node) healthz(w http.ResponseWriter, r *http.Request) {
	why := ""
	if !n.answersWithin(aliveTime) {
		why = "the control loop does not answer: the node hangs, or the host has far too much to do"
	}
	verdict(w, r, why)
}

// readyz answers whether programs should use the node.
func (n *Node) readyz(w http.ResponseWriter, r *http.Request) { verdict(w, r, n.unready()) }

// unready says why programs should not use the node; empty: they should. One that is
// alone is ready, for it serves the programs of its host, but not before it had the time
// to find others.
func (n *Node) unready() string {
	switch {
	case n.leaving.Load():
		return "the node is draining: it ends soon"
	case !n.open.Load():
		return "the relay is not open yet"
	case n.network != nil && !n.network.settled.Load():
		return "the node has not joined its network yet: it waits for others for " + lonelyLimit.String()
	}
	return ""
}

// answersWithin reports whether the control loop does something in time.
func (n *Node) answersWithin(limit time.Duration) bool {
	late := time.NewTimer(limit)
	defer late.Stop()
	t := task{func(time.Time, *queue.Batch) {}, make(chan struct{})}
	select {
	case n.tasks <- t:
	case <-n.stop:
		return false
	case <-late.C:
		return false
	}
	select {
	case <-t.done:
		return true
	case <-late.C:
		return false
	}
}

// verdict answers a probe: ok, or why not, and as JSON whoever asks for that.
func verdict(w http.ResponseWriter, r *http.Request, why string) {
	w.Header().Set("Cache-Control", "no-store")
	status := http.StatusOK
	if why != "" {
		status = http.StatusServiceUnavailable
	}
	switch {
	case strings.Contains(r.Header.Get("Accept"), "application/json"):
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(struct {
			OK     bool   `json:"ok"`
			Reason string `json:"reason,omitempty"`
		}{why == "", why})
	case why != "":
		http.Error(w, why, status)
	default:
		io.WriteString(w, "ok\n")
	}
}
