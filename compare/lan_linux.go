package main

import (
	"context"
	"os/exec"

	"github.com/project-iris/iris/internal/hosts"
)

// errUnable is the error of newLAN where this system or user cannot have hosts.
var errUnable = hosts.ErrUnable

// A lan has some hosts, known by number.
type lan struct{ *hosts.LAN }

func newLAN(n int) (lan, error) {
	l, err := hosts.New(n)
	return lan{l}, err
}

func (l lan) close() { l.Close() }

// on returns what starts processes on a host.
func (l lan) on(host int) starter {
	return func(cmd *exec.Cmd) error { return l.Hosts[host].Do(cmd.Start) }
}

// ip returns the address of a host.
func (l lan) ip(host int) string { return l.Hosts[host].IPv4.String() }

// listens tells whether something listens on a host.
func (l lan) listens(ctx context.Context, host int, address string) bool {
	nc, err := l.Hosts[host].Dial(ctx, "tcp", address)
	if err != nil {
		return false
	}
	nc.Close()
	return true
}
