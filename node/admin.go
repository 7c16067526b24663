package node

import (
	"net/http"

	"github.com/project-iris/iris/internal/admin"
)

// answers is what an operator may ask the node.
func (n *Node) answers() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, n.Status) })
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) { answer(w, n.Report) })
	mux.HandleFunc("GET /tunnels", func(w http.ResponseWriter, _ *http.Request) { answer(w, n.Tunnels) })
	mux.Handle("GET /metrics", n.metrics())
	return mux
}

// answer answers with what get returns.
func answer[T any](w http.ResponseWriter, get func() (T, error)) {
	v, err := get()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	admin.JSON(w, v)
}
