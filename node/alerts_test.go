package node

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The rules of deploy/alerts.yaml are ones, and speak of metrics that there are.
func TestAlertsAreOfWhatIsCounted(t *testing.T) {
	const rules = "../deploy/alerts.yaml"
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	metrics := scrape(t, startNetwork(t, 2)[1]) // it has a source: the peer it was given
	for _, name := range regexp.MustCompile(`\biris_\w+`).FindAllString(string(text), -1) {
		if !strings.Contains(metrics, "# TYPE "+name+" ") {
			t.Errorf("%s is not a metric of a node", name)
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("IRIS_HOSTS") == "required" {
			t.Fatal(err)
		}
		t.Skip("promtool is not installed: Debian has it in the package prometheus")
	}
	if out, err := exec.Command(promtool, "check", "rules", rules).CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
}
