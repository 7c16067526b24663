package iris_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/node"
)

// A process of the test with one of these set plays another user's.
const (
	squat = "IRIS_TEST_SQUAT" // serves the socket at that path
	visit = "IRIS_TEST_VISIT" // attaches there and says how that went
)

const stranger = 65534

func init() {
	if path := os.Getenv(squat); path != "" {
		if _, err := net.Listen("unix", path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ready")
		os.Stdin.Read(make([]byte, 1)) // until the test closes it
		os.Exit(0)
	}
	if path := os.Getenv(visit); path != "" {
		_, err := iris.Config{Address: path}.Connect(bg)
		fmt.Println(err)
		os.Exit(0)
	}
}

// asStranger returns the test's own program as another user would run it.
func asStranger(t *testing.T, env string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may start a process of another user")
	}
	cmd := exec.Command("/proc/self/exe") // the binary may lie where only we may go
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	return cmd
}

// socketNode starts a node on a port and socket of its own, the default one of a
// private environment.
func socketNode(t *testing.T) (port int, path string) {
	t.Helper()
	parent := "/run"
	if os.Geteuid() != 0 {
		parent = os.Getenv("HOME")
	}
	dir, err := os.MkdirTemp(parent, "iris-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	path = filepath.Join(dir, "iris", strconv.Itoa(port)+".sock")
	n, err := node.New(node.Config{Dev: true, Port: port, Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return port, path
}

// over returns the network that a client of config is attached by.
func over(t *testing.T, config iris.Config) string {
	t.Helper()
	var log bytes.Buffer
	config.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	connect(t, config)
	for _, network := range []string{"unix", "tcp"} {
		if strings.Contains(log.String(), "network="+network) {
			return network
		}
	}
	t.Fatalf("the log does not tell:\n%s", &log)
	return ""
}

func TestTrustedSocketIsPreferred(t *testing.T) {
	port, path := socketNode(t)
	if got := over(t, iris.Config{Address: strconv.Itoa(port)}); got != "unix" {
		t.Errorf("attached over %s where there is a socket", got)
	}
	if got := over(t, iris.Config{Address: path}); got != "unix" {
		t.Errorf("attached over %s to the path of a socket", got)
	}
	if got := over(t, iris.Config{Address: fmt.Sprintf("localhost:%d", port)}); got != "tcp" {
		t.Errorf("attached over %s to host and port", got)
	}
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	if got := over(t, iris.Config{Address: strconv.Itoa(port)}); got != "tcp" {
		t.Errorf("attached over %s where there is no socket", got)
	}
}

func TestForeignSocketIsNotTrusted(t *testing.T) {
	port, path := socketNode(t)
	dir := t.TempDir()
	for at := dir; at != "/" && at != os.TempDir(); at = filepath.Dir(at) {
		os.Chmod(at, 0o711)
	}
	foreign := filepath.Join(dir, "iris", filepath.Base(path))
	if err := os.Mkdir(filepath.Dir(foreign), 0o777); err != nil {
		t.Fatal(err)
	}
	os.Chmod(filepath.Dir(foreign), 0o777) // whatever the umask
	cmd := asStranger(t, squat+"="+foreign)
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer hold.Close()
	line := make([]byte, 100)
	if n, _ := out.Read(line); string(line[:n]) != "ready\n" {
		t.Fatalf("the squatter says %q", line[:n])
	}
	_, err = iris.Config{Address: foreign}.Connect(bg)
	wants(t, "socket of another user", err, iris.ErrUntrusted, "uid 65534", "TCP port")

	// Where the node's own should be it is no reason to try TCP.
	t.Setenv("XDG_RUNTIME_DIR", dir)
	_, err = iris.Config{Address: strconv.Itoa(port)}.Connect(bg)
	wants(t, "socket of another user in the node's place", err, iris.ErrUntrusted, "uid 65534")
}

func TestRefusedSocketSaysWhatToDo(t *testing.T) {
	_, path := socketNode(t)
	os.Chmod(filepath.Dir(filepath.Dir(path)), 0o711) // the socket's own directory keeps others out
	out, err := asStranger(t, visit+"="+path).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"the socket is not for this user", "permission denied", "--socket-uid 65534"} {
		if !strings.Contains(string(out), word) {
			t.Errorf("the stranger is told %q, which does not say %q", out, word)
		}
	}
}
