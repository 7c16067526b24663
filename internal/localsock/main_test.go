//go:build linux || darwin

package localsock

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// childEnv holds what a child process of a test does, and with which path.
const childEnv = "LOCALSOCK_TEST_CHILD"

func TestMain(m *testing.M) {
	if what, path, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		if err := child(what, path); err != nil {
			fmt.Println(err)
		}
		return
	}
	os.Exit(m.Run())
}

// child is one end of a connection in a process of its own, perhaps of another
// user. A serving child says ready and stays until its standard input ends; a
// dialling one prints what it is told.
func child(what, path string) error {
	var l net.Listener
	var c net.Conn
	var err error
	switch what {
	case "listen":
		l, err = Listen(path, Options{})
	case "squat":
		l, err = net.Listen("unix", path)
	case "dial":
		c, err = net.Dial("unix", path)
	case "dialTrusted":
		c, err = DialTrusted(path)
	default:
		err = fmt.Errorf("no such child: %s", what)
	}
	if err != nil {
		return err
	}
	if l != nil {
		fmt.Println("ready")
		_, err = io.Copy(io.Discard, os.Stdin)
		return err
	}
	data, err := io.ReadAll(c)
	if err == nil {
		fmt.Printf("told %q\n", data)
	}
	return err
}

// command returns the command that runs this test binary as a child. It is
// not started.
func command(what, path string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(),
		childEnv+"="+what+" "+path,
		"GORACE=atexit_sleep_ms=0", // else each child stays a second longer under -race
	)
	cmd.Stderr = os.Stderr
	return cmd
}

// startServer starts cmd, a child that listens, and returns when it does.
// Calling stop ends it, by force.
func startServer(t *testing.T, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cmd.Process.Kill()
			cmd.Wait()
			stdin.Close()
		}
	}
	t.Cleanup(stop)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("the child says %q, %v, want ready", line, err)
	}
	return stop
}

// testDir returns an empty directory, mode 0700, that passes the checks. That
// below the directory for temporary files would not.
func testDir(t *testing.T) string {
	t.Helper()
	parents := []string{"/run", "/var/lib"} // short, and open to child processes of other users
	if home, err := os.UserHomeDir(); err == nil {
		parents = append(parents, home)
	}
	var errs []error
	for _, parent := range parents {
		if err := checkTrusted(parent, 0); err != nil {
			errs = append(errs, err)
			continue
		}
		dir, err := os.MkdirTemp(parent, "iris-test-")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	t.Skipf("no directory here that only root or we could change: %v", errs)
	return ""
}

// socketPath returns a path for a socket in a trusted directory.
func socketPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(testDir(t), "iris", "55555.sock")
}

// serve listens on path and says hello to whoever is let in, until the test
// ends or stop is called.
func serve(t *testing.T, path string, opt Options) (l *Listener, stop func()) {
	t.Helper()
	l, err := Listen(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello")
			c.(*net.UnixConn).CloseWrite()
			// On macOS the kernel forgets the user of an end that is closed.
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	stop = func() {
		l.Close()
		<-done
	}
	t.Cleanup(stop)
	return l, stop
}

// hasParts checks that err is there and that its message has every part.
func hasParts(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error is %q, want %q in it", err, part)
		}
	}
}

// hasMode checks the permissions of the file at path.
func hasMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Error(err)
	} else if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %04o, want %04o", path, got, want)
	}
}
