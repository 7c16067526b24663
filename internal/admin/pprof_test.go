package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProfiles(t *testing.T) {
	for path, want := range map[string]struct {
		status int
		holds  string
	}{
		"/debug/pprof/":                     {http.StatusOK, "goroutine"},
		"/debug/pprof/heap?gc=1":            {http.StatusOK, "\x1f\x8b"},
		"/debug/pprof/goroutine?debug=1":    {http.StatusOK, "goroutine profile: total"},
		"/debug/pprof/profile?seconds=.01":  {http.StatusOK, "\x1f\x8b"},
		"/debug/pprof/trace?seconds=.01":    {http.StatusOK, "go 1."},
		"/debug/pprof/profile?seconds=1e9":  {http.StatusBadRequest, "up to 300"},
		"/debug/pprof/profile?seconds=NaN":  {http.StatusBadRequest, "up to 300"},
		"/debug/pprof/nothing":              {http.StatusNotFound, "lists those there are"},
		"/debug/pprof/../../etc/passwd":     {http.StatusTemporaryRedirect, ""},
		"/debug/pprof/profile?seconds=many": {http.StatusBadRequest, "up to 300"},
	} {
		w := httptest.NewRecorder()
		Profiles().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want.status || !strings.Contains(w.Body.String(), want.holds) {
			t.Errorf("%s: %d %.60q, want %d with %q", path, w.Code, w.Body, want.status, want.holds)
		}
	}
	if _, pattern := http.DefaultServeMux.Handler(httptest.NewRequest("GET", "/debug/pprof/heap", nil)); pattern != "" {
		t.Errorf("whoever serves http.DefaultServeMux shows profiles: %s", pattern)
	}
}
