// Package admin is what an operator asks a node: HTTP over a Unix socket in the
// node's state directory, for root and the node's own user only. What it answers
// is the node's.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-iris/iris/internal/localsock"
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

// A Server answers on one admin socket.
type Server struct {
	http  http.Server
	done  chan struct{} // closed when nothing more is accepted
	open  atomic.Int32
	conns sync.WaitGroup
}

// Serve opens the admin socket in the directory state, which it makes if it is
// missing, and answers requests with handler.
func Serve(state string, handler http.Handler, log *slog.Logger) (*Server, error) {
	l, err := listen(state, func(uid int) {
		log.Warn("a user was refused at the admin socket", "uid", uid)
	})
	if err != nil {
		return nil, fmt.Errorf("%w (--state DIR chooses another directory, --state none does without)", err)
	}
	s := &Server{done: make(chan struct{})}
	s.http = http.Server{
		Handler:           handler,
		MaxHeaderBytes:    headerLimit,
		ReadHeaderTimeout: headerTime,
		WriteTimeout:      answerTime,
		IdleTimeout:       answerTime,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnState:         s.count,
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the admin socket failed", "error", err)
		}
	}()
	return s, nil
}

func listen(state string, refused func(uid int)) (net.Listener, error) {
	if err := localsock.MakePrivateDir(state); err != nil {
		return nil, err
	}
	return localsock.Listen(filepath.Join(state, Socket), localsock.Options{Refused: refused})
}

// count keeps track of connections. New ones come from the accepting goroutine.
func (s *Server) count(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
		if s.open.Add(1) > mostConns {
			c.Close()
		}
	case http.StateClosed:
		s.open.Add(-1)
		s.conns.Done()
	}
}

// Close ends the service. When it returns no handler is running.
func (s *Server) Close() {
	s.http.Close()
	<-s.done
	s.conns.Wait()
}

// JSON answers a request with v.
func JSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// Ask asks the node whose state directory is given for a path, such as /status, and
// decodes its answer into v. Where no node runs the error is fs.ErrNotExist or
// ECONNREFUSED.
func Ask(ctx context.Context, state, path string, v any) error {
	if err := ask(ctx, state, path, v); err != nil {
		return fmt.Errorf("ask the node in %s: %w", state, err)
	}
	return nil
}

func ask(ctx context.Context, state, path string, v any) error {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return localsock.DialTrusted(filepath.Join(state, Socket))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://iris"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if urlErr := (*url.Error)(nil); errors.As(err, &urlErr) {
		return urlErr.Err // without an address that means nothing to people
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("it answered %s: %s", resp.Status, strings.TrimSpace(string(why)))
	}
	return json.NewDecoder(resp.Body).Decode(v)
}
