//go:build linux || darwin

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/project-iris/iris/internal/relaywire"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"iris":     main,
		"program":  programMain,
		"stranger": strangerMain,
		"notified": notifiedMain,
		"tcpecho":  tcpechoMain,
	})
}

// TestScripts runs the scripts in testdata against the command. Beside the
// commands of testscript they have
//
//	exits STATUS COMMAND...          run a command that is to exit so
//	start NAME COMMAND...            run one in the background
//	waitline NAME REGEXP [VAR...]    wait for a line of its output; its groups go to VAR
//	signal NAME TERM|INT|KILL|HUP...     send it signals
//	ended NAME STATUS                wait for its end; stdout and stderr are then its own
//	freeport VAR                     find a port that nobody has
//	mode PATH OCTAL                  check the permissions of a file
//	profile PATH TYPE                check that a file is a profile with samples of a type
//	fetch STATUS WHERE PATH          ask for a path over HTTP, at HOST:PORT or a socket
//	terminal NAME WIDTH HEIGHT       start a shell in a terminal, that of tmux
//	type NAME KEYS...                type there, with the names of keys that tmux has
//	resize NAME WIDTH HEIGHT         give it another size
//	screen NAME REGEXP               wait until it shows that; no line may be wrapped
//
// The program "program" attaches to a node, "tcpecho" knows nothing of nodes,
// "notified" is told by them how they are, and "stranger" is not to be trusted: see
// programMain and those after it. What
// scripts start has the environment of setup; "env" sets more. All that nodes
// write by default is below $PRIVATE, a directory that nobody else can change.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    command(2, scriptExits),
			"start":    command(2, scriptStart),
			"waitline": command(2, scriptWaitline),
			"signal":   command(2, scriptSignal),
			"ended":    command(2, scriptEnded),
			"freeport": command(1, scriptFreeport),
			"mode":     command(2, scriptMode),
			"profile":  command(2, scriptProfile),
			"fetch":    command(3, scriptFetch),
			"terminal": command(3, scriptTerminal),
			"type":     command(2, scriptType),
			"resize":   command(3, scriptResize),
			"screen":   command(2, scriptScreen),
		},
	})
}

// waitTime bounds each wait of a script. It is far more than any needs.
const waitTime = 30 * time.Second

// A script is what the commands below know of one.
type script struct {
	environ   []string
	processes map[string]*process
}

type scriptKey struct{}

func setup(env *testscript.Env) error {
	var private string
	var errs []error
	for _, parent := range []string{"/run", os.Getenv("HOME")} { // a place for temporary files is open to all
		dir, err := os.MkdirTemp(parent, "iris-test-")
		if err == nil {
			private = dir
			break
		}
		errs = append(errs, err)
	}
	if private == "" {
		return fmt.Errorf("no place for sockets: %w", errors.Join(errs...))
	}
	env.Defer(func() { os.RemoveAll(private) })
	for name, value := range map[string]string{
		"PRIVATE":         private,
		"HOME":            private,
		"XDG_RUNTIME_DIR": filepath.Join(private, "run"),
		"STATE_DIRECTORY": filepath.Join(private, "state"), // holds for root too
		"IRIS_DISCOVER":   "none",                          // no packet of a test leaves this host
		"GORACE":          "atexit_sleep_ms=0",             // else each process stays a second longer
	} {
		env.Setenv(name, value)
	}
	env.Values[scriptKey{}] = &script{env.Vars, map[string]*process{}}
	return nil
}

// condition knows [root]: the defaults for root are not below $HOME; and [tmux], which
// may not be missing where everything is to be tested.
func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	case "tmux":
		_, err := exec.LookPath("tmux")
		if err != nil && os.Getenv("IRIS_HOSTS") != "required" {
			return false, nil
		}
		return true, err
	}
	return false, errors.New("unknown condition")
}

// command makes a command for scripts that has at least n arguments.
func command(n int, f func(*testscript.TestScript, *script, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < n {
			ts.Fatalf("this command takes no ! and at least %d arguments", n)
		}
		f(ts, ts.Value(scriptKey{}).(*script), args)
	}
}

func scriptExits(ts *testscript.TestScript, _ *script, args []string) {
	status := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("exit status %d, want %s", status, args[0])
	}
}

// A process is one that a script started. Its output is read while it runs.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it ended and all its output is there

	mu             sync.Mutex
	stdout, stderr strings.Builder
	more           chan struct{} // closed at the next output
}

// stream is one of the two outputs of a process.
type stream struct {
	p *process
	b *strings.Builder
}

func (s stream) Write(b []byte) (int, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	close(s.p.more)
	s.p.more = make(chan struct{})
	return s.b.Write(b)
}

// output returns all output so far, and what is closed when there is more.
func (p *process) output() (stdout, stderr string, more <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String(), p.stderr.String(), p.more
}

func scriptStart(ts *testscript.TestScript, s *script, args []string) {
	p := &process{
		cmd:  exec.Command(args[1], args[2:]...),
		done: make(chan struct{}),
		more: make(chan struct{}),
	}
	p.cmd.Dir = ts.MkAbs(".")
	p.cmd.Env = s.environ
	p.cmd.Stdout, p.cmd.Stderr = stream{p, &p.stdout}, stream{p, &p.stderr}
	ts.Check(p.cmd.Start())
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	ts.Defer(func() {
		p.cmd.Process.Kill()
		<-p.done
		stdout, stderr, _ := p.output()
		ts.Logf("output of %s:\n%s%s", args[0], stdout, stderr)
	})
	s.processes[args[0]] = p
}

func (s *script) find(ts *testscript.TestScript, name string) *process {
	p := s.processes[name]
	if p == nil {
		ts.Fatalf("%s was not started", name)
	}
	return p
}

func scriptWaitline(ts *testscript.TestScript, s *script, args []string) {
	p := s.find(ts, args[0])
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	limit := time.After(waitTime)
	for {
		ended := false
		select {
		case <-p.done:
			ended = true
		default:
		}
		stdout, stderr, more := p.output()
		if groups := re.FindStringSubmatch(stdout + stderr); groups != nil {
			if len(groups)-1 < len(args)-2 {
				ts.Fatalf("%q has fewer groups than there are variables", args[1])
			}
			for i, name := range args[2:] {
				ts.Setenv(name, groups[i+1])
			}
			return
		}
		if ended {
			ts.Fatalf("%s ended without a line %q", args[0], args[1])
		}
		select {
		case <-more:
		case <-p.done:
		case <-limit:
			ts.Fatalf("%s has no line %q", args[0], args[1])
		}
	}
}

func scriptSignal(ts *testscript.TestScript, s *script, args []string) {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "HUP": syscall.SIGHUP}
	p := s.find(ts, args[0])
	for _, name := range args[1:] {
		if signals[name] == nil {
			ts.Fatalf("there is no signal %s here", name)
		}
		ts.Check(p.cmd.Process.Signal(signals[name]))
	}
}

func scriptEnded(ts *testscript.TestScript, s *script, args []string) {
	p := s.find(ts, args[0])
	select {
	case <-p.done:
	case <-time.After(waitTime):
		ts.Fatalf("%s has not ended", args[0])
	}
	stdout, stderr, _ := p.output()
	fmt.Fprint(ts.Stdout(), stdout)
	fmt.Fprint(ts.Stderr(), stderr)
	if got := strconv.Itoa(p.cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("exit status %s, want %s", got, args[1])
	}
}

// lastPort is the port that scriptFreeport tried last.
var lastPort atomic.Int32

func init() { lastPort.Store(20_000 + rand.Int32N(10_000)) }

// scriptFreeport hands out no port twice, and none of those that the system
// gives to whoever asks for any: it stays free until it is used.
func scriptFreeport(ts *testscript.TestScript, _ *script, args []string) {
	for range 1000 {
		port := strconv.Itoa(int(lastPort.Add(1)))
		l4, err4 := net.Listen("tcp", "127.0.0.1:"+port)
		l6, err6 := net.Listen("tcp", "[::1]:"+port)
		if err4 == nil {
			l4.Close()
		}
		if err6 == nil {
			l6.Close()
		}
		if err4 == nil && (err6 == nil || !errors.Is(err6, syscall.EADDRINUSE)) {
			ts.Setenv(args[0], port)
			return
		}
	}
	ts.Fatalf("no port is free")
}

func scriptMode(ts *testscript.TestScript, _ *script, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	want, err := strconv.ParseUint(args[1], 8, 32)
	ts.Check(err)
	if got := info.Mode().Perm(); got != fs.FileMode(want) {
		ts.Fatalf("%s has mode %04o, want %04o", args[0], got, want)
	}
}

func scriptFetch(ts *testscript.TestScript, _ *script, args []string) {
	network, host := "tcp", args[1]
	if strings.Contains(args[1], "/") {
		network, host = "unix", "iris"
	}
	client := http.Client{Timeout: waitTime, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, args[1])
		},
	}}
	resp, err := client.Get("http://" + host + args[2])
	ts.Check(err)
	resp.Body.Close()
	if strconv.Itoa(resp.StatusCode) != args[0] {
		ts.Fatalf("%s of %s is answered %s, want %s", args[2], args[1], resp.Status, args[0])
	}
}

func scriptProfile(ts *testscript.TestScript, _ *script, args []string) {
	z, err := gzip.NewReader(strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	data, err := io.ReadAll(z) // ends with an error where the file does too early
	ts.Check(err)
	if !bytes.Contains(data, []byte(args[1])) {
		ts.Fatalf("%s has no samples of type %s", args[0], args[1])
	}
}

// programMain is a program that attaches to a node and prints what the node
// sends, up to the Close:
//
//	program ADDRESS [CLUSTER [broadcast SIZE | subscribe TOPIC | deaf]]
//
// The address is host:port or the path of a socket. A deaf program never reads.
func programMain() {
	if err := runProgram(append(os.Args[1:], "", "", "")); err != nil {
		fmt.Fprintln(os.Stderr, "program:", err)
		os.Exit(1)
	}
}

func runProgram(args []string) error {
	address, cluster, verb, object := args[0], args[1], args[2], ""
	if len(args) > 3 {
		object = args[3]
	}
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	p := &program{Conn: conn}
	if err := p.introduce(cluster); err != nil {
		return err
	}
	fmt.Println("attached")

	switch verb {
	case "broadcast":
		size, err := strconv.Atoi(object)
		if err != nil {
			return err
		}
		err = p.send(relaywire.Message{Op: relaywire.Broadcast, Name: []byte(cluster), Body: make([]byte, size)})
		if err != nil {
			return err
		}
	case "subscribe":
		if err := p.send(relaywire.Message{Op: relaywire.Subscribe, Name: []byte(object)}); err != nil {
			return err
		}
	case "deaf":
		select {}
	}
	for {
		m, err := p.next()
		switch {
		case err != nil:
			return err
		case m.Op == relaywire.Close:
			fmt.Printf("close %q\n", m.Body)
			return nil
		case m.Op == relaywire.Broadcast:
			fmt.Printf("broadcast of %d octets\n", len(m.Body))
		default:
			fmt.Printf("message %#02x\n", byte(m.Op))
		}
	}
}

// A program is one attached over the bare protocol.
type program struct {
	net.Conn
	in []byte // read, not parsed
}

// introduce does the handshake.
func (p *program) introduce(cluster string) error {
	err := p.send(relaywire.Message{
		Op:      relaywire.Init,
		Magic:   []byte(relaywire.ClientMagic),
		Version: []byte(relaywire.Version),
		Name:    []byte(cluster),
	})
	if err != nil {
		return err
	}
	_, err = p.receive(relaywire.Accept)
	return err
}

func (p *program) send(m relaywire.Message) error {
	_, err := p.Write(m.AppendToNode(nil))
	return err
}

// receive returns the next message, which is to be op.
func (p *program) receive(op relaywire.Op) (relaywire.Message, error) {
	m, err := p.next()
	if err == nil && m.Op != op {
		err = fmt.Errorf("message %#02x came in place of %#02x, with %q", byte(m.Op), byte(op), m.Body)
	}
	return m, err
}

// next returns the next message.
func (p *program) next() (relaywire.Message, error) {
	buf := make([]byte, 1024)
	for {
		var m relaywire.Message
		n, err := relaywire.DefaultLimits.ParseToClient(p.in, &m)
		if err == nil {
			p.in = p.in[n:]
			return m, nil
		}
		if err != relaywire.ErrShort {
			return m, err
		}
		n, err = p.Read(buf)
		if err != nil {
			return m, err
		}
		p.in = append(p.in, buf[:n]...)
	}
}

// tcpechoMain is a TCP server on a free port of loopback, which it prints. It
// sends back what it gets. With an ADDRESS it is a client instead: it sends its
// standard input, ends only that direction, and prints what comes back.
func tcpechoMain() {
	run := runTCPEcho
	if len(os.Args) > 1 {
		run = runTCPClient
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "tcpecho:", err)
		os.Exit(1)
	}
}

func runTCPEcho() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			io.Copy(conn, conn)
		}()
	}
}

func runTCPClient() error {
	conn, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		return err
	}
	defer conn.Close()
	received := make(chan error, 1)
	go func() {
		_, err := io.Copy(os.Stdout, conn)
		received <- err
	}()
	if _, err := io.Copy(conn, os.Stdin); err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	return <-received
}

// notifiedMain is a service manager: it prints what comes at the socket PATH.
func notifiedMain() {
	l, err := net.ListenPacket("unixgram", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "notified:", err)
		os.Exit(1)
	}
	fmt.Println("listening")
	b := make([]byte, 4096)
	for {
		n, _, err := l.ReadFrom(b)
		if err != nil {
			return
		}
		fmt.Printf("%s\nend\n", b[:n])
	}
}

// strangerMain listens on the Unix socket PATH as a user that root does not
// trust, and never answers.
func strangerMain() {
	if err := runStranger(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "stranger:", err)
		os.Exit(1)
	}
	fmt.Println("listening")
	select {}
}

func runStranger(path string) error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		return err
	}
	if err := syscall.Setuid(12345); err != nil { // listen notes who serves
		return err
	}
	return syscall.Listen(fd, 1)
}
