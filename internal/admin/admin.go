// Package admin is what an operator asks a node: HTTP over a Unix socket in the
// node's state directory, for root and the node's own user only, and over TCP, by the
// rules of docs/security.md (HTTP). What it answers is the node's.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/localsock"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
)

// Socket is the name of the socket in a state directory.
const Socket = "admin.sock"

// Bounds of the service.
const (
	mostConns   = 64 // more are closed at once
	headerLimit = 16 << 10
	headerTime  = 5 * time.Second
	answerTime  = 10 * time.Second
)

// A Server answers on one listener.
type Server struct {
	http    http.Server
	refused *session.Refusals
	cancel  context.CancelFunc // ends what handlers wait for
	done    chan struct{}      // closed when nothing more is accepted
	open    atomic.Int32
	conns   sync.WaitGroup
}

// Serve opens the admin socket in the directory state, which it makes if it is
// missing, and answers requests with handler.
func Serve(state string, handler http.Handler, refused *session.Refusals, log *slog.Logger) (*Server, error) {
	l, err := listen(state, func(uid int) {
		log.Warn("a user was refused at the admin socket", "uid", uid)
	})
	if err != nil {
		return nil, fmt.Errorf("%w (--state DIR chooses another directory, --state none does without)", err)
	}
	return newServer(l, handler, refused, log), nil
}

// newServer answers on l until the server is closed.
func newServer(l net.Listener, handler http.Handler, refused *session.Refusals, log *slog.Logger) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{refused: refused, cancel: cancel, done: make(chan struct{})}
	s.http = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Context().Value(connKey{}).(*conn).begun = false
			handler.ServeHTTP(w, r)
		}),
		MaxHeaderBytes:    headerLimit,
		ReadHeaderTimeout: headerTime,
		WriteTimeout:      answerTime,
		IdleTimeout:       answerTime,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnState:         s.follow,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		Protocols:         new(http.Protocols),

		// OPTIONS * would be answered without a look at the rules.
		DisableGeneralOptionsHandler: true,
	}
	s.http.Protocols.SetHTTP1(true)
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener{l}); !errors.Is(err, http.ErrServerClosed) {
			log.Error("a node cannot be asked any more", "at", l.Addr(), "error", err)
		}
	}()
	return s
}

func listen(state string, refused func(uid int)) (net.Listener, error) {
	if err := localsock.MakePrivateDir(state); err != nil {
		return nil, err
	}
	return localsock.Listen(filepath.Join(state, Socket), localsock.Options{Refused: refused})
}

// A listener accepts connections that know whether a request was heard.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// A conn is one connection. Once it is accepted its fields are those of the
// goroutine that serves it.
type conn struct {
	net.Conn
	begun bool // a request has, and no handler has got it
}

// connKey is what a request's context has its conn under.
type connKey struct{}

// follow keeps track of connections. New ones come from the accepting goroutine.
func (s *Server) follow(nc net.Conn, state http.ConnState) {
	c := nc.(*conn)
	switch state {
	case http.StateNew:
		s.conns.Add(1)
		if s.open.Add(1) > mostConns {
			s.refuse(c, fmt.Errorf("%d connections are open: it was closed", mostConns))
			c.Close()
		}
	case http.StateActive:
		c.begun = true
	case http.StateClosed:
		if c.begun {
			s.refuse(c, fmt.Errorf("what came was no request with at most %d KiB of header within %v", headerLimit>>10, headerTime))
		}
		s.open.Add(-1)
		s.conns.Done()
	}
}

// refuse counts a connection that goes over the bounds.
func (s *Server) refuse(c net.Conn, err error) {
	s.refused.Refuse(session.HTTPFull, Host(c.RemoteAddr().String()), ring.ID{}, err)
}

// Host names who is at the other end of a connection, by its remote address.
func Host(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return "admin socket"
}

// Close ends the service. When it returns no handler is running.
func (s *Server) Close() {
	s.cancel() // a handler whose client sends more than its request is not told of its end
	s.http.Close()
	<-s.done
	s.conns.Wait()
}

// JSON answers a request with v.
func JSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
