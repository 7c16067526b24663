package admin

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
)

// Rules are those by which a node is asked over TCP.
type Rules struct {
	Hosts   []string // names that it may be asked under, beside its addresses and localhost
	Token   string   // whoever sends it may all; empty: nobody has it
	Refused *session.Refusals
}

// ServeTCP answers on l what the rules let through with handler. Closing the server
// closes l.
func ServeTCP(l net.Listener, rules Rules, handler http.Handler, log *slog.Logger) *Server {
	at := l.Addr().(*net.TCPAddr)
	return newServer(l, &guard{Rules: rules, at: at.AddrPort(), handler: handler}, rules.Refused, log)
}

// A guard refuses what breaks the rules, before anything is done for it.
type guard struct {
	Rules
	at      netip.AddrPort // where it listens
	handler http.Handler
	origins http.CrossOriginProtection
}

// A refusal is what is answered in place of a handler's answer.
type refusal struct {
	status int
	code   session.Code
	why    string // and what to do
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	no := g.check(r)
	if no == nil {
		g.handler.ServeHTTP(w, r)
		return
	}
	g.Refused.Refuse(no.code, Host(r.RemoteAddr), ring.ID{}, errors.New(no.why))
	header.Set("Connection", "close") // nor is a body read
	switch no.status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		header.Set("Allow", "GET, HEAD, POST")
	}
	http.Error(w, no.why, no.status)
}

// check applies the rules in their order: a page of elsewhere is told nothing, not
// even that a token is missing.
func (g *guard) check(r *http.Request) *refusal {
	named, ok := g.host(r.Host)
	if !ok {
		return &refusal{http.StatusMisdirectedRequest, session.HTTPHost,
			fmt.Sprintf("host %.80q is not this node: use its address and port %d, or allow the name with --admin-host", r.Host, g.at.Port())}
	}
	for _, o := range r.Header["Origin"] {
		// For a name there may be a proxy that ends TLS.
		if o != "http://"+r.Host && !(named && o == "https://"+r.Host) {
			return &refusal{http.StatusForbidden, session.HTTPOrigin,
				fmt.Sprintf("a page of %.80q may not use this node: open the page of the node itself", o)}
		}
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "none" && site != "same-origin" {
			return &refusal{http.StatusForbidden, session.HTTPOrigin,
				"a page of elsewhere may not use this node: type the address, or open the page of the node itself"}
		}
	}
	change := r.Method == http.MethodPost
	if !change && r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &refusal{http.StatusMethodNotAllowed, session.HTTPToken,
			fmt.Sprintf("method %.20q is not served: use GET to ask, POST to change something", r.Method)}
	}
	if (change || (named || g.abroad(r)) && !isProbe(r.URL.Path)) && !g.hasToken(r) {
		why := fmt.Sprintf("the token is missing or wrong: send \"Authorization: Bearer TOKEN\" with what the file %s in the node's state directory holds", TokenFile)
		if g.Token == "" {
			why = "this needs a token, and a node without a state directory has none: give it one with --state DIR, or ask it on its own host"
		}
		return &refusal{http.StatusUnauthorized, session.HTTPToken, why}
	}
	if change {
		if err := g.origins.Check(r); err != nil {
			return &refusal{http.StatusForbidden, session.HTTPToken, err.Error() + ": open the page of the node itself"}
		}
	}
	if r.ContentLength != 0 {
		return &refusal{http.StatusRequestEntityTooLarge, session.HTTPFull, "over TCP nothing takes a body: send the request without, or to the admin socket"}
	}
	return nil
}

// host reports whether a request may be for a host, and whether by one of the names. A
// page whose name was made to lead here has none that is allowed (DNS rebinding).
func (g *guard) host(host string) (named, ok bool) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), "80"
	}
	if slices.ContainsFunc(g.Hosts, func(h string) bool { return strings.EqualFold(h, name) }) {
		return true, true
	}
	_, err = netip.ParseAddr(name)
	return false, (err == nil || strings.EqualFold(name, "localhost")) && port == fmt.Sprint(g.at.Port())
}

// abroad reports whether a request may be of another host: over a listener that
// others reach, or by a proxy that says so.
func (g *guard) abroad(r *http.Request) bool {
	if !g.at.Addr().IsLoopback() {
		return true
	}
	for name := range r.Header {
		if name == "Forwarded" || name == "Via" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
			return true
		}
	}
	return false
}

// isProbe reports whether a path is for those who look after processes, who have no
// token.
func isProbe(path string) bool { return path == "/healthz" || path == "/readyz" }

func (g *guard) hasToken(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return g.Token != "" && strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare([]byte(token), []byte(g.Token)) == 1
}
