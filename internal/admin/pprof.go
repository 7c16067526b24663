package admin

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// longestProfile is what one may be asked to look for.
const longestProfile = 5 * time.Minute

// Profiles answers below /debug/pprof/ as net/http/pprof does. That package is not
// used, for whoever imports it puts the same into http.DefaultServeMux: a program that
// serves that would show its memory to everybody for having a node in it.
func Profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/{$}", func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range pprof.Profiles() {
			fmt.Fprintf(w, "%-12s %d\n", p.Name(), p.Count())
		}
		fmt.Fprint(w, "profile      of processor time; ?seconds=30\ntrace        of execution; ?seconds=1\n")
	})
	mux.HandleFunc("GET /debug/pprof/profile", func(w http.ResponseWriter, r *http.Request) {
		during(w, r, 30, pprof.StartCPUProfile, pprof.StopCPUProfile)
	})
	mux.HandleFunc("GET /debug/pprof/trace", func(w http.ResponseWriter, r *http.Request) {
		during(w, r, 1, trace.Start, trace.Stop)
	})
	mux.HandleFunc("GET /debug/pprof/{name}", func(w http.ResponseWriter, r *http.Request) {
		p := pprof.Lookup(r.PathValue("name"))
		if p == nil {
			http.Error(w, "there is no such profile: /debug/pprof/ lists those there are", http.StatusNotFound)
			return
		}
		if r.FormValue("gc") != "" {
			runtime.GC()
		}
		debug, _ := strconv.Atoi(r.FormValue("debug"))
		asBinary(w, debug == 0)
		p.WriteTo(w, debug)
	})
	return mux
}

// during answers with what is recorded for so many seconds as are asked for.
func during(w http.ResponseWriter, r *http.Request, seconds float64, start func(io.Writer) error, stop func()) {
	if s := r.FormValue("seconds"); s != "" {
		var err error
		if seconds, err = strconv.ParseFloat(s, 64); err != nil || !(seconds > 0 && seconds <= longestProfile.Seconds()) {
			http.Error(w, fmt.Sprintf("seconds are a number up to %v", longestProfile.Seconds()), http.StatusBadRequest)
			return
		}
	}
	d := time.Duration(seconds * float64(time.Second))
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d + answerTime))
	asBinary(w, true)
	if err := start(w); err != nil {
		asBinary(w, false)
		http.Error(w, err.Error()+": wait until it is done", http.StatusConflict)
		return
	}
	defer stop()
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

func asBinary(w http.ResponseWriter, binary bool) {
	if binary {
		w.Header().Set("Content-Type", "application/octet-stream")
	} else {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
}
