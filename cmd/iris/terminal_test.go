//go:build linux || darwin

package main

import (
	"errors"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// lookTime is between two looks at a terminal, which tells nobody of what it shows.
const lookTime = 20 * time.Millisecond

// tmux runs a command of the server that has the terminal of that name and no other.
func (s *script) tmux(ts *testscript.TestScript, name string, args ...string) string {
	cmd := exec.Command("tmux", append([]string{"-u", "-f", "/dev/null", "-L", name}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(s.environ, "TMUX_TMPDIR="+ts.Getenv("PRIVATE"), "TMUX=", "LC_ALL=C.UTF-8", "ENV=")
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		ts.Fatalf("tmux %s: %v: %s", strings.Join(args, " "), err, exit.Stderr)
	}
	ts.Check(err)
	return string(out)
}

func scriptTerminal(ts *testscript.TestScript, s *script, args []string) {
	s.tmux(ts, args[0], "new-session", "-d", "-x", args[1], "-y", args[2], "exec sh")
	ts.Defer(func() {
		ts.Logf("terminal %s:\n%s", args[0], s.tmux(ts, args[0], "capture-pane", "-p"))
		s.tmux(ts, args[0], "kill-server")
	})
}

func scriptType(ts *testscript.TestScript, s *script, args []string) {
	s.tmux(ts, args[0], append([]string{"send-keys"}, args[1:]...)...)
}

func scriptResize(ts *testscript.TestScript, s *script, args []string) {
	s.tmux(ts, args[0], "resize-window", "-x", args[1], "-y", args[2])
}

func scriptScreen(ts *testscript.TestScript, s *script, args []string) {
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	width, err := strconv.Atoi(strings.TrimSpace(s.tmux(ts, args[0], "display-message", "-p", "#{window_width}")))
	ts.Check(err)
	for end := time.Now().Add(waitTime); ; time.Sleep(lookTime) {
		var lines []string
		for line := range strings.Lines(s.tmux(ts, args[0], "capture-pane", "-p", "-J")) { // wrapped lines are joined
			line = strings.TrimRight(line, " \n")
			if lines = append(lines, line); cells(line) > width {
				ts.Fatalf("a line is wrapped after %d cells: %s", width, line)
			}
		}
		if re.MatchString(strings.Join(lines, "\n")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("the terminal does not show %q", args[1])
		}
	}
}
