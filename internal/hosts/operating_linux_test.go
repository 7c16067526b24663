package hosts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What docs/operating.md says to do is done, block by block, on hosts a and b, that have
// no more than its reader has: the program, a shell, and what stands in for systemctl.
func TestOperatingManual(t *testing.T) {
	t.Parallel()
	thePlace.need(t)
	lan := newLAN(t, 2)
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	top := withinPlace(t)
	shells := map[string]*shell{
		"a": newShell(t, lan.Hosts[0], filepath.Join(top, "a")),
		"b": newShell(t, lan.Hosts[1], filepath.Join(top, "b")),
	}
	blocks := regexp.MustCompile("(?ms)^```sh on (a|b|each)\n(.*?)^```").FindAllSubmatchIndex(text, -1)
	if len(blocks) == 0 {
		t.Fatal("the manual has nothing to do")
	}
	for _, b := range blocks {
		on, commands := []string{string(text[b[2]:b[3]])}, string(text[b[4]:b[5]])
		if on[0] == "each" {
			on = []string{"a", "b"}
		}
		line := 1 + strings.Count(string(text[:b[4]]), "\n")
		for _, h := range on {
			shells[h].run(t, fmt.Sprintf("docs/operating.md:%d", line), commands)
		}
	}
}

// A shell is one on a host, in a directory of the host's own.
type shell struct {
	*Process
	in   *os.File
	runs int
}

func newShell(t *testing.T, h *Host, dir string) *shell {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	t.Cleanup(func() { out.Close() })
	cmd := exec.Command("bash", "-s")
	cmd.Dir, cmd.Stdin = dir, in
	socket := filepath.Join(dir, "iris.sock")
	cmd.Env = append(os.Environ(), "PATH="+here+":"+thePlace.dir+":"+os.Getenv("PATH"), "HOME="+dir,
		"HOST_DIR="+dir, "IRIS_STATE="+filepath.Join(dir, "state"), "IRIS_SOCKET="+socket, "IRIS_ADDRESS="+socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it leaves running ends with the test
	p, err := h.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return &shell{Process: p, in: out}
}

// run has the shell do what is at a place of the manual. Every command is to succeed.
func (s *shell) run(t *testing.T, at, commands string) {
	t.Helper()
	s.runs++
	end := fmt.Sprintf("end of block %d: ", s.runs)
	before := len(s.Output())
	begun := time.Now()
	defer func() { t.Logf("%s took %v", at, time.Since(begun).Round(time.Millisecond)) }()
	fmt.Fprintf(s.in, "failed=; trap 'failed=\"$BASH_COMMAND\"' ERR\n%s\ntrap - ERR; echo; echo \"%s$failed\"\n", commands, end)
	line, err := s.Line(withLimit(t), end)
	if err != nil {
		t.Fatalf("%s: %v: %s", at, err, s.Output()[before:])
	}
	if failed := strings.TrimPrefix(line, end); failed != "" {
		t.Fatalf("%s: %s failed: %s", at, failed, s.Output()[before:])
	}
}
