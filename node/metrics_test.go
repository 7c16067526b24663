package node

import (
	"bytes"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
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
	t.Log(text)
}
