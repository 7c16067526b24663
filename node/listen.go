package node

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// listenLoopback listens on both loopback addresses at one port; 0: any that is
// free on both. An address in use on either family is an error: a program that
// resolves localhost to it would reach somebody else. A family that this host
// does not have is returned as missing.
func listenLoopback(port int) (listeners []net.Listener, missing []error, err error) {
	const tries = 16 // for a port free on both families
	for range tries {
		listeners, missing, err = listenBoth(port)
		if port != 0 || !isInUse(err) {
			break
		}
	}
	return listeners, missing, err
}

func listenBoth(port int) (listeners []net.Listener, missing []error, err error) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		addr := net.JoinHostPort(host, strconv.Itoa(port))
		l, e := net.Listen("tcp", addr)
		switch {
		case err != nil:
			// One reason is enough.
			if e == nil {
				l.Close()
			}
		case e == nil:
			listeners = append(listeners, l)
			port = l.Addr().(*net.TCPAddr).Port
		case isMissing(e):
			missing = append(missing, e)
		case isInUse(e):
			err = fmt.Errorf("relay port %s is in use: stop the program that has it, which may be another node, or choose another with --port: %w", addr, e)
		default:
			err = fmt.Errorf("relay: %w", e)
		}
	}
	if err == nil && len(listeners) == 0 {
		err = fmt.Errorf("relay: this host has no loopback address: %w", errors.Join(missing...))
	}
	if err != nil {
		for _, l := range listeners {
			l.Close()
		}
		return nil, nil, err
	}
	return listeners, missing, nil
}
