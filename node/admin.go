package node

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/project-iris/iris/internal/admin"
)

// answers is what an operator may ask the node.
func (n *Node) answers() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ping", n.answerPing) // by POST: it dials
	mux.HandleFunc("GET /trace", n.answerTrace)
	mux.HandleFunc("POST /trace", n.answerTrace) // sends a request
	mux.HandleFunc("GET /why", n.answerWhy)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, n.Status) })
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) { answer(w, n.Report) })
	mux.HandleFunc("GET /tunnels", func(w http.ResponseWriter, _ *http.Request) { answer(w, n.Tunnels) })
	mux.Handle("GET /metrics", n.metrics())
	mux.HandleFunc("GET /healthz", n.healthz)
	mux.HandleFunc("GET /readyz", n.readyz)
	mux.HandleFunc("GET /events", n.serveEvents)
	return mux
}

// answer answers with what get returns.
func answer[T any](w http.ResponseWriter, get func() (T, error)) {
	v, err := get()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	admin.JSON(w, v)
}

// listenAdmin has the node answer where the configuration says. Profiles hold payload and
// keys: they are for who may use the socket, and never for who has a token.
func (n *Node) listenAdmin() error {
	c := &n.config
	var l net.Listener
	if c.Admin != "" {
		var err error
		if l, err = listenHTTP(c.Admin); err != nil {
			return err
		}
		n.adminAddr = l.Addr().String() // which the socket tells from the start
	}
	answers := n.answers()
	if c.State != "" {
		mux := http.NewServeMux()
		mux.Handle("/", answers)
		mux.Handle("/debug/pprof/", admin.Profiles())
		s, err := admin.Serve(c.State, mux, n.refused, c.Log)
		if err != nil {
			if l != nil {
				l.Close()
			}
			return fmt.Errorf("admin socket: %w", err)
		}
		n.admin = append(n.admin, s)
	}
	if l == nil {
		return nil
	}
	if err := n.serveHTTP(l, answers); err != nil {
		l.Close()
		return fmt.Errorf("admin port: %w", err)
	}
	return nil
}

func listenHTTP(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if isInUse(err) {
		return nil, fmt.Errorf("admin port: %s is in use: stop the program that has it, or choose another with --admin-listen: %w", addr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("admin port: %w", err)
	}
	return l, nil
}

// serveHTTP answers on l by the rules. Without a state directory there is no token, and
// nothing that needs one.
func (n *Node) serveHTTP(l net.Listener, answers http.Handler) (err error) {
	c := &n.config
	rules := admin.Rules{Hosts: c.AdminHosts, Refused: n.refused}
	log := c.Log.With("address", n.adminAddr)
	if c.State != "" {
		var file string
		if rules.Token, file, err = admin.Token(c.State); err != nil {
			return err
		}
		log = log.With("token", file)
	}
	n.admin = append(n.admin, admin.ServeTCP(l, rules, answers, c.Log))
	if l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		log.Info("the node answers HTTP here")
	} else {
		log.Warn("the node answers HTTP here, to other hosts too and in clear text: a proxy with TLS in front keeps the token secret")
	}
	return nil
}

// checkAdmin says what is wrong with where the node is to answer.
func (c *Config) checkAdmin() error {
	if c.Admin == "" {
		if len(c.AdminHosts) > 0 {
			return errors.New("there are names for the admin port, and no port: give --admin-listen 127.0.0.1:8080")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(c.Admin)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("%q is not where an admin port could be: give HOST:PORT, such as 127.0.0.1:8080", c.Admin)
	}
	for _, name := range c.AdminHosts {
		if name == "" || strings.ContainsAny(name, ":/ ") {
			return fmt.Errorf("%q is no name of a host: give --admin-host NAME, without http:// and port", name)
		}
	}
	ip, err := netip.ParseAddr(host)
	if c.Dev && host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("a dev node stays on this host: give it --admin-listen 127.0.0.1:%s", port)
	}
	return nil
}
