package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// No test, demo or measurement sends a packet to the networks of the machine it runs
// on: nodes discover by default, so whatever starts one outside of the hosts of
// internal/hosts says that it is not to, or has it stay on loopback.
func TestNothingDiscoversOnTheMachinesNetworks(t *testing.T) {
	var (
		starts  = regexp.MustCompile(`(exec\.Command(Context)?\(.*|\[\]string\{)"node", `)
		quiet   = regexp.MustCompile(`"--dev"|"--discover", "none"`)
		library = regexp.MustCompile(`\bDiscover(:|\s*=[^=])|\bNewLAN\(`)
		script  = regexp.MustCompile(`--discover\b|IRIS_DISCOVER|\benv -i\b`)
		refused = regexp.MustCompile(`^(exits 2|stderr) `)
	)
	started := 0
	look := func(path string, line func(text string) (problem string)) {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range strings.Split(string(src), "\n") {
			if problem := line(text); problem != "" {
				t.Errorf("%s:%d: %s: %s", path, i+1, problem, strings.TrimSpace(text))
			}
		}
	}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "hosts" || d.Name() == "arch"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			look(path, func(text string) string {
				switch {
				case starts.MatchString(text):
					if started++; !quiet.MatchString(text) {
						return "starts a node that discovers: add --discover none, or --dev"
					}
				case strings.HasSuffix(path, "node/discover_test.go"), strings.HasSuffix(path, "doctor/doctor_test.go"): // nodes on loopback, or none
				case library.MatchString(text) && strings.HasSuffix(path, "_test.go"):
					return "has a node discover: that is tested in internal/hosts"
				}
				return ""
			})
		case strings.HasSuffix(path, ".txtar"):
			look(path, func(text string) string {
				if script.MatchString(text) && !refused.MatchString(text) {
					return "may have a node discover: scripts run with IRIS_DISCOVER=none"
				}
				return ""
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if started < 4 {
		t.Errorf("found %d places that start nodes, not those of compare, measure and node", started)
	}
	src, err := os.ReadFile(filepath.Join(root, "cmd/iris/script_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`"IRIS_DISCOVER":\s+"none"`).Match(src) {
		t.Error("scripts of the command do not run with IRIS_DISCOVER=none")
	}
}
