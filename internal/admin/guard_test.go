package admin

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/internal/session"
)

const (
	token = "0123456789abcdef0123456789abcdef"
	bear  = "Authorization: Bearer " + token + "\r\n"
)

var quiet = slog.New(slog.DiscardHandler)

// nobody was refused yet.
func nobody() *session.Refusals { return session.NewRefusals(quiet, time.Now) }

// A port answers over TCP; what it let through is counted.
type port struct {
	*Server
	addr    string // such as 127.0.0.1:8080
	refused *session.Refusals
	through int
}

// open opens a port at an address of this host.
func open(t *testing.T, at, token string) *port {
	t.Helper()
	l, err := net.Listen("tcp", at+":0")
	if err != nil {
		t.Fatal(err)
	}
	p := &port{refused: nobody()}
	p.refused.Tell = func(f session.Refusal) {
		if f.Addr != "127.0.0.1" {
			t.Errorf("%s is noted of %q, want 127.0.0.1", f.Code, f.Addr)
		}
	}
	p.addr = fmt.Sprintf("127.0.0.1:%d", l.Addr().(*net.TCPAddr).Port)
	mux := http.NewServeMux()
	for _, path := range []string{"/status", "/healthz", "/readyz", "POST /change"} {
		mux.HandleFunc(path, func(http.ResponseWriter, *http.Request) { p.through++ })
	}
	p.Server = ServeTCP(l, Rules{Hosts: []string{"iris.example"}, Token: token, Refused: p.refused}, mux, quiet)
	t.Cleanup(p.Close)
	return p
}

// send sends a request without its last line. HOST in it stands for the address.
func (p *port) send(t *testing.T, text string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go io.WriteString(c, strings.ReplaceAll(text, "HOST", p.addr)+"\r\n") // it may be cut off
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", text, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp, string(body)
}

// wants checks that a request is answered so, counted under the code if it was refused,
// told what to do then, and let through else; and that the next one is answered.
func (p *port) wants(t *testing.T, text string, status int, code session.Code) {
	t.Helper()
	through, counted := p.through, p.refused.Counts()[code]
	resp, body := p.send(t, text)
	if resp.StatusCode != status {
		t.Errorf("%.90q is answered %d %q, want %d", text, resp.StatusCode, body, status)
	}
	switch {
	case code == "" && p.through != through+1:
		t.Errorf("%.90q did not get through", text)
	case code != "" && (p.through != through || p.refused.Counts()[code] != counted+1):
		t.Errorf("%.90q: %d got through, refused are %v, want one more of %s", text, p.through-through, p.refused.Counts(), code)
	case code != "" && !strings.Contains(body, ": "):
		t.Errorf("%.90q is told %q, want why and what to do", text, body)
	}
	for name, want := range map[string]string{"Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff"} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%.90q has %s %q, want %q", text, name, got, want)
		}
	}
	for name := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%.90q is answered with %s: other pages may read it", text, name)
		}
	}
}

// A page whose name was made to lead to this host asks for its own name.
func TestRebindingHost(t *testing.T) {
	p := open(t, "127.0.0.1", token)
	_, number, _ := net.SplitHostPort(p.addr)
	for host, fine := range map[string]bool{
		"HOST": true, "localhost:" + number: true, "LocalHost:" + number: true, "[::1]:" + number: true,
		"192.0.2.1:" + number: true, "iris.example": true, "Iris.Example:443": true,

		"evil.example": false, "evil.example:" + number: false, "localhost": false, "127.0.0.1": false, "127.0.0.1:1": false,
		"": false, "localhost.evil.example:" + number: false, "iris.example.evil.example": false, "127.0.0.1.evil.example:" + number: false,
		"0x7f000001:" + number: false, "2130706433:" + number: false, "[::1": false,
	} {
		text := "GET /status HTTP/1.1\r\nHost: " + host + "\r\n" + bear
		if fine {
			p.wants(t, text, http.StatusOK, "")
		} else {
			p.wants(t, text, http.StatusMisdirectedRequest, session.HTTPHost)
		}
	}
	p.wants(t, "GET http://evil.example/status HTTP/1.1\r\nHost: HOST\r\n", http.StatusMisdirectedRequest, session.HTTPHost)
	p.wants(t, "GET /status HTTP/1.0\r\n", http.StatusMisdirectedRequest, session.HTTPHost)
	p.wants(t, "OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n", http.StatusMisdirectedRequest, session.HTTPHost)
}

func TestCrossOrigin(t *testing.T) {
	p := open(t, "127.0.0.1", token)
	for header, fine := range map[string]bool{
		"Origin: http://HOST\r\n": true, "Sec-Fetch-Site: none\r\n": true, "Sec-Fetch-Site: same-origin\r\n": true,

		"Origin: http://evil.example\r\n": false, "Origin: null\r\n": false, "Origin: https://HOST\r\n": false, "Origin:\r\n": false,
		"Origin: http://HOST\r\nOrigin: http://evil.example\r\n": false, "Origin: http://127.0.0.1\r\n": false,
		"Sec-Fetch-Site: cross-site\r\n": false, "Sec-Fetch-Site: same-site\r\n": false,
		"Origin: http://HOST\r\nSec-Fetch-Site: cross-site\r\n": false,
	} {
		for _, request := range []string{"GET /status HTTP/1.1\r\nHost: HOST\r\n", "POST /change HTTP/1.1\r\nHost: HOST\r\n" + bear} {
			if fine {
				p.wants(t, request+header, http.StatusOK, "")
			} else {
				p.wants(t, request+header, http.StatusForbidden, session.HTTPOrigin)
			}
		}
	}
	p.wants(t, "GET /status HTTP/1.1\r\nHost: iris.example\r\nOrigin: https://iris.example\r\n"+bear, http.StatusOK, "")
}

func TestPostNeedsToken(t *testing.T) {
	p := open(t, "127.0.0.1", token)
	const post = "POST /change HTTP/1.1\r\nHost: HOST\r\n"
	p.wants(t, post+bear, http.StatusOK, "")
	for _, header := range []string{
		"", "Authorization: Bearer\r\n", "Authorization: Bearer " + token[1:] + "\r\n", "Authorization: Bearer " + token + "0\r\n",
		"Authorization: Basic " + token + "\r\n", "Authorization: " + token + "\r\n", "Cookie: token=" + token + "\r\n",
	} {
		p.wants(t, post+header, http.StatusUnauthorized, session.HTTPToken)
	}
	p.wants(t, "POST /change?token="+token+" HTTP/1.1\r\nHost: HOST\r\n", http.StatusUnauthorized, session.HTTPToken)
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "BREW"} {
		p.wants(t, method+" /change HTTP/1.1\r\nHost: HOST\r\n"+bear, http.StatusMethodNotAllowed, session.HTTPToken)
	}
	p.wants(t, post+bear+"Content-Length: 1\r\n\r\nx", http.StatusRequestEntityTooLarge, session.HTTPFull)
	p.wants(t, post+bear+"Transfer-Encoding: chunked\r\n", http.StatusRequestEntityTooLarge, session.HTTPFull)
	if last := p.refused.Last(); len(last) > 0 {
		t.Errorf("strangers take the place of what is kept of refusals between nodes: %v", last)
	}
}

// Without a token nobody has it, not even who sends none.
func TestNoTokenIsNobodys(t *testing.T) {
	p := open(t, "127.0.0.1", "")
	p.wants(t, "POST /change HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer \r\n", http.StatusUnauthorized, session.HTTPToken)
	p.wants(t, "GET /status HTTP/1.1\r\nHost: HOST\r\n", http.StatusOK, "")
}

func TestOffLoopbackNeedsToken(t *testing.T) {
	wide, narrow := open(t, "0.0.0.0", token), open(t, "127.0.0.1", token)
	for _, path := range []string{"/healthz", "/readyz"} {
		wide.wants(t, "GET "+path+" HTTP/1.1\r\nHost: HOST\r\n", http.StatusOK, "")
		wide.wants(t, "POST "+path+" HTTP/1.1\r\nHost: HOST\r\n", http.StatusUnauthorized, session.HTTPToken)
	}
	for _, path := range []string{"/status", "/", "/healthz/../status", "//readyz"} {
		wide.wants(t, "GET "+path+" HTTP/1.1\r\nHost: HOST\r\n", http.StatusUnauthorized, session.HTTPToken)
	}
	wide.wants(t, "GET /status HTTP/1.1\r\nHost: HOST\r\n"+bear, http.StatusOK, "")
	for _, proxied := range []string{"HOST\r\nX-Forwarded-For: 192.0.2.1", "HOST\r\nx-real-ip: 192.0.2.1", "HOST\r\nX-Forwarded-Proto: https", "iris.example"} {
		narrow.wants(t, "GET /status HTTP/1.1\r\nHost: "+proxied+"\r\n", http.StatusUnauthorized, session.HTTPToken)
	}
}

func TestHeaderIsBounded(t *testing.T) {
	p := open(t, "127.0.0.1", token)
	for _, text := range []string{"GET /status HTTP/1.1\r\nHost: HOST\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n", "\x16\x03\x01\x02\x00\x01no HTTP\r\n"} {
		before := p.refused.Counts()[session.HTTPFull]
		if resp, _ := p.send(t, text); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%.40q is answered %d", text, resp.StatusCode)
		}
		p.counts(t, before+1)
	}
	p.wants(t, "GET /status HTTP/1.1\r\nHost: HOST\r\n", http.StatusOK, "")
	p.counts(t, 2) // an orderly end is no refusal
}

// counts waits until so many were refused for their connection.
func (p *port) counts(t *testing.T, want uint64) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); p.refused.Counts()[session.HTTPFull] != want; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d are refused, want %d", p.refused.Counts()[session.HTTPFull], want)
		}
	}
}

// One octet a second is a way to hold a connection; it ends after 5 s.
func TestSlowHeaderIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("node")
		refused := nobody()
		s := newServer(l, http.NotFoundHandler(), refused, quiet)
		defer s.Close()
		near, err := l.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer near.Close()
		began := time.Now()
		go io.Copy(io.Discard, near)
		for err == nil {
			_, err = near.Write([]byte("G"))
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took > headerTime+2*time.Second {
			t.Errorf("it ended after %v, want %v", took, headerTime)
		}
		synctest.Wait()
		if n := refused.Counts()[session.HTTPFull]; n != 1 {
			t.Errorf("%d are refused, want 1", n)
		}
	})
}

func TestFloodOfConnections(t *testing.T) {
	p := open(t, "127.0.0.1", token)
	first, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	const more = 3 * mostConns
	var flood []net.Conn
	for range more {
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		flood = append(flood, c)
	}
	p.counts(t, more-(mostConns-1))
	fmt.Fprintf(first, "GET /status HTTP/1.1\r\nHost: %s\r\n\r\n", p.addr)
	if resp, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the first connection is answered %v, %v", resp, err)
	}
	for _, c := range flood {
		c.Close()
	}
	first.Close()
	for p.open.Load() > 0 {
		runtime.Gosched()
	}
	p.wants(t, "GET /status HTTP/1.1\r\nHost: HOST\r\n", http.StatusOK, "")
}

func TestTokenIsKept(t *testing.T) {
	dir := t.TempDir()
	one, file, err := Token(dir)
	if err != nil || len(one) != 64 || file != filepath.Join(dir, TokenFile) {
		t.Fatalf("Token() = %q, %q, %v", one, file, err)
	}
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != fs.FileMode(0o600) {
		t.Errorf("the file: %v, %v, want mode 0600", info.Mode(), err)
	}
	if again, _, err := Token(dir); again != one || err != nil {
		t.Errorf("the second time it is %q, %v, want %q", again, err, one)
	}
	if other, _, _ := Token(t.TempDir()); other == one {
		t.Error("two nodes have one token")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	os.WriteFile(file, []byte("short\n"), 0o600)
	if _, _, err := Token(dir); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a short token: %v, want what to do", err)
	}
}

// pipes is a listener that accepts one connection, whose writes end when they are read.
type pipes struct {
	net.Listener
	conns chan net.Conn
}

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error {
	close(p.conns)
	return nil
}

// A client that sends more than its request is not looked after by net/http any more: the
// end of the server ends its request all the same.
func TestCloseEndsRequestsThatWait(t *testing.T) {
	l := pipes{conns: make(chan net.Conn, 1)}
	waits := make(chan struct{})
	s := newServer(l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(waits)
		<-r.Context().Done()
	}), nobody(), quiet)
	ours, its := net.Pipe()
	defer ours.Close()
	l.conns <- its
	io.WriteString(ours, "GET /events HTTP/1.1\r\nHost: iris\r\n\r\n")
	<-waits
	io.WriteString(ours, "G")
	s.Close()
}
