package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/project-iris/iris/node"
)

// A supervisor is the service manager, as far as it wants to be told how the node is: by
// datagrams to the socket that NOTIFY_SOCKET names, see sd_notify(3) of systemd. The zero
// value is none.
type supervisor struct {
	conn net.Conn
	log  *slog.Logger
}

// supervise tells the service manager that the node is ready. If it has to hear of it
// again and again, it does up to the end of the process, as long as the node answers.
func supervise(n *node.Node, getenv func(string) string, log *slog.Logger) *supervisor {
	s := &supervisor{log: log}
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return s
	}
	conn, err := net.Dial("unixgram", path) // @ begins an abstract one
	if err != nil {
		log.Warn("the service manager is not told how the node is", "error", err)
		return s
	}
	s.conn = conn
	s.tell("READY=1", status(n))
	usec, _ := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if pid := getenv("WATCHDOG_PID"); usec >= 2 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		go func() {
			for range time.Tick(time.Duration(usec) * time.Microsecond / 2) {
				s.tell(status(n), "WATCHDOG=1") // in this order: status waits for the node
			}
		}()
	}
	return s
}

// status asks the node how it is.
func status(n *node.Node) string {
	s, err := n.Status()
	if err != nil {
		return "STATUS=" + err.Error()
	}
	return fmt.Sprintf("STATUS=programs attached %d, other nodes known %d, linked %d", s.Programs, len(s.Peers), len(s.Links))
}

// reloading tells that the configuration is read again; READY=1 tells the end of it.
func (s *supervisor) reloading() {
	s.tell("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic(), 10))
}

func (s *supervisor) tell(assignments ...string) {
	if s.conn == nil {
		return
	}
	s.conn.SetWriteDeadline(time.Now().Add(time.Second)) // a manager that does not read keeps no node up
	if _, err := s.conn.Write([]byte(strings.Join(assignments, "\n"))); err != nil {
		s.log.Warn("the service manager is not told how the node is", "error", err)
	}
}
