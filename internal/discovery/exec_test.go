//go:build unix

package discovery_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/discovery/discoverytest"
)

func TestCommandsTellOfNodes(t *testing.T) {
	for _, c := range []struct {
		command, want, trouble string
	}{
		{`printf '\n# all of them\n10.0.0.1\n 10.0.0.2:7 # the second\r\n[fd77::1]:8\nfd77::2\npod-1.example.\npod-2.example.:9'`,
			"10.0.0.1:14142 10.0.0.2:7 10.0.0.2:14142 10.0.0.3:9 [fd77::1]:8 [fd77::2]:14142", ""},
		{`true`, "", ""},
		{`printf '10.0.0.1\n10.0.0.2:0\n'`, "10.0.0.1:14142", `port of "10.0.0.2:0" is no number`},
		{`printf '10.0.0.1 10.0.0.2\nthere: nobody\n\033[31m\n10.0.0.3\n'`, "10.0.0.3:14142", `"10.0.0.1 10.0.0.2" is neither an IP address nor a name: give HOST or HOST:PORT; and 2 more come to nothing`},
		{`echo gone.example.`, "", "no such host"},
		{`echo 10.0.0.1; echo 'no permit' >&2; exit 3`, "10.0.0.1:14142", `the command fails: exit status 3; it says "no permit"`},
		{`/nowhere/at/all`, "", "the command fails: exit status 127; it says"},
		{`while echo 10.0.0.1; do :; done`, "", "writes more than 64 KiB"},
		{`head -c 70000 /dev/zero`, "", "writes more than 64 KiB"},
	} {
		found, failed, err := discovery.LookExec(t.Context(), c.command, resolver(zone.Answer))
		slices.SortFunc(found, netip.AddrPort.Compare)
		got := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(slices.Compact(found)), "["), "]")
		if strings.HasPrefix(c.command, "while") {
			got = "" // of so many lines some are used
		}
		if got != c.want || (err == nil) != (c.trouble == "") || err != nil && !strings.Contains(err.Error(), c.trouble) {
			t.Errorf("%s: %s, %v, want %s, %q", c.command, got, err, c.want, c.trouble)
		}
		if (failed == 1) != (err != nil) {
			t.Errorf("%s: it failed %d times", c.command, failed)
		}
	}
}

// Nothing that a command has started is there when Run has returned, whether it went on,
// or was ended before those it started.
func TestCommandLeavesNobodyBehind(t *testing.T) {
	for what, command := range map[string]string{
		"goes on":  "sleep 1000 & echo $! > %[1]s.new; mv %[1]s.new %[1]s; wait",
		"has gone": "sleep 1000 >/dev/null 2>&1 & echo $! > %[1]s.new; mv %[1]s.new %[1]s",
	} {
		t.Run(what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			e := &discovery.Exec{
				Command: fmt.Sprintf(command, file), Label: "exec", Log: slog.New(slog.DiscardHandler),
				Alone: func() bool { cancel(); return true },
			}
			ended := make(chan error)
			go func() { ended <- e.Run(ctx, func(discovery.Found) {}) }()
			var text []byte
			for end := time.Now().Add(30 * time.Second); len(text) == 0; time.Sleep(time.Millisecond) {
				if text, _ = os.ReadFile(file); time.Now().After(end) {
					t.Fatal("the command does not tell its process")
				}
			}
			if what == "goes on" {
				cancel()
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			var pid int
			if _, err := fmt.Sscan(string(text), &pid); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(5 * time.Second); alive(pid); time.Sleep(time.Millisecond) {
				if time.Now().After(end) { // it was killed: only the system may take a moment
					t.Fatalf("process %d goes on", pid)
				}
			}
		})
	}
}

// alive reports whether a process is there, and no zombie that its new parent has yet to
// take leave of.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

func TestExecConforms(t *testing.T) {
	discoverytest.Conform(t, func(*testing.T) discovery.Source {
		return &discovery.Exec{
			Command: "echo 10.0.0.1; echo 10.0.0.2:7; sleep 0.05", Label: "exec", Port: 14142, Log: slog.New(slog.DiscardHandler),
			Alone: func() bool { return true },
		}
	}, netip.MustParseAddrPort("10.0.0.1:14142"), netip.MustParseAddrPort("10.0.0.2:7"))
}
