//go:build linux || darwin

package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-iris/iris/internal/localsock"
)

// stateDir returns the path of a state directory that is not made yet, in a
// place that nobody else can change, as that for temporary files is not.
func stateDir(t *testing.T) string {
	t.Helper()
	var errs []error
	for _, parent := range []string{"/run", os.Getenv("HOME")} {
		dir, err := os.MkdirTemp(parent, "iris-test-")
		if err == nil {
			t.Cleanup(func() { os.RemoveAll(dir) })
			return filepath.Join(dir, "state", "dev-55555")
		}
		errs = append(errs, err)
	}
	t.Fatalf("no place for a state directory: %v", errors.Join(errs...))
	return ""
}

// serve serves status in a new state directory until the test ends.
func serve(t *testing.T, status func() (any, error)) (s *Server, state string) {
	t.Helper()
	state = stateDir(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		v, err := status()
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		JSON(w, v)
	})
	s, err := Serve(state, mux, nobody(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, state
}

func works() (any, error) { return map[string]int{"programs": 3}, nil }

func dial(t *testing.T, state string) net.Conn {
	t.Helper()
	c, err := localsock.DialTrusted(filepath.Join(state, Socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// request writes text to the admin socket and returns the status of the answer.
func request(t *testing.T, state, text string) int {
	t.Helper()
	c := dial(t, state)
	go io.WriteString(c, text) // it may be cut off
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestStatusIsAnswered(t *testing.T) {
	_, state := serve(t, works)
	var s struct{ Programs int }
	if err := Ask(t.Context(), state, "/status", &s); err != nil || s.Programs != 3 {
		t.Errorf("Ask() = %+v, %v, want 3 programs", s, err)
	}
}

func TestAdminSocketMode(t *testing.T) {
	_, state := serve(t, works)
	for path, want := range map[string]fs.FileMode{state: 0o700, filepath.Join(state, Socket): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %04o, want %04o", path, got, want)
		}
	}
}

func TestNodeThatCannotTellSaysSo(t *testing.T) {
	_, state := serve(t, func() (any, error) { return nil, errors.New("node is closed") })
	var s any
	err := Ask(t.Context(), state, "/status", &s)
	if err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), state) {
		t.Errorf("Ask() = %v, want an error with 503 and the directory", err)
	}
}

func TestOnlyStatusCanBeAsked(t *testing.T) {
	_, state := serve(t, works)
	for text, want := range map[string]int{
		"GET /status HTTP/1.1\r\nHost: iris\r\n\r\n":                                               http.StatusOK,
		"POST /status HTTP/1.1\r\nHost: iris\r\nContent-Length: 0\r\n\r\n":                         http.StatusMethodNotAllowed,
		"GET / HTTP/1.1\r\nHost: iris\r\n\r\n":                                                     http.StatusNotFound,
		"GET /debug/pprof/ HTTP/1.1\r\nHost: iris\r\n\r\n":                                         http.StatusNotFound,
		"no HTTP at all\r\n\r\n":                                                                   http.StatusBadRequest,
		"GET /status HTTP/1.1\r\nHost: iris\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n\r\n": http.StatusRequestHeaderFieldsTooLarge,
	} {
		if got := request(t, state, text); got != want {
			t.Errorf("%.40q was answered %d, want %d", text, got, want)
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	_, state := serve(t, works)
	const ask = "GET /status HTTP/1.1\r\nHost: iris\r\n\r\n"
	var last *bufio.Reader
	var conn net.Conn
	for range mostConns {
		conn = dial(t, state)
		last = bufio.NewReader(conn)
		fmt.Fprint(conn, ask)
		resp, err := http.ReadResponse(last, nil)
		if err != nil {
			t.Fatalf("a connection within the bound: %v", err)
		}
		io.Copy(io.Discard, resp.Body)
	}
	one := dial(t, state)
	if n, err := one.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("one connection too many read %d octets, %v, want it closed", n, err)
	}
	fmt.Fprint(conn, ask)
	if resp, err := http.ReadResponse(last, nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("a connection within the bound was ended too: %v", err)
	}
}

func TestCloseEndsIdleConnectionsAndRemovesTheSocket(t *testing.T) {
	s, state := serve(t, works)
	c := dial(t, state)
	s.Close()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("after Close a connection read %d octets, %v, want it closed", n, err)
	}
	if _, err := os.Lstat(filepath.Join(state, Socket)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket after Close: %v, want fs.ErrNotExist", err)
	}
	var answer any
	if err := Ask(t.Context(), state, "/status", &answer); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Status after Close = %v, want fs.ErrNotExist", err)
	}
}

func TestCloseWaitsForAnswersUnderWay(t *testing.T) {
	asked, tell := make(chan struct{}), make(chan struct{})
	returned := false // by status; Close is what orders the two
	s, state := serve(t, func() (any, error) {
		close(asked)
		<-tell
		returned = true
		return nil, nil
	})
	c := dial(t, state)
	fmt.Fprint(c, "GET /status HTTP/1.1\r\nHost: iris\r\n\r\n")
	<-asked
	go func() {
		// The service closes this connection first of all.
		c.Read(make([]byte, 1))
		close(tell)
	}()
	s.Close()
	if !returned {
		t.Error("Close returned while status was running")
	}
}

func TestSilentNodeIsNotWaitedForForEver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tell := make(chan struct{})
	_, state := serve(t, func() (any, error) {
		cancel()
		<-tell
		return nil, nil
	})
	t.Cleanup(func() { close(tell) })
	var s any
	if err := Ask(ctx, state, "/status", &s); !errors.Is(err, context.Canceled) {
		t.Errorf("Ask() = %v, want context.Canceled", err)
	}
}

func TestStateOpenToOthersIsRefused(t *testing.T) {
	state := stateDir(t)
	if err := os.MkdirAll(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(state, 0o755); err != nil { // whatever the umask
		t.Fatal(err)
	}
	s, err := Serve(state, http.NotFoundHandler(), nobody(), quiet)
	if err == nil {
		s.Close()
	}
	for _, part := range []string{state, "chmod 700", "--state"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("Serve() = %v, want an error with %q", err, part)
		}
	}
}

func TestSecondNodeInOneStateIsRefused(t *testing.T) {
	_, state := serve(t, works)
	if _, err := Serve(state, http.NotFoundHandler(), nobody(), quiet); !errors.Is(err, localsock.ErrTaken) {
		t.Errorf("Serve() = %v, want localsock.ErrTaken", err)
	}
	var s any
	if err := Ask(t.Context(), state, "/status", &s); err != nil {
		t.Errorf("the first is out of reach: %v", err)
	}
}

func TestOrderlyEndIsNotLogged(t *testing.T) {
	var b bytes.Buffer
	state := stateDir(t)
	s, err := Serve(state, http.NotFoundHandler(), nobody(), slog.New(slog.NewTextHandler(&b, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if b.Len() > 0 {
		t.Errorf("an orderly end is logged: %s", &b)
	}
}
