package conform

import "github.com/project-iris/iris/internal/relaywire"

// olderWindow is how many messages of a tunnel the libraries of V0 take ahead of the
// application, and the node ahead of itself.
const olderWindow = 128

// A checker follows a connection from its program's side, in its dialect: see Checker.
type checker interface {
	wrong(m *message) error
	sent(m *message)
	received(m *message) error
}

// introduction returns the first message of a program of a cluster, and who checks
// what follows.
func introduction(d relaywire.Dialect, cluster string) (message, checker) {
	if d == relaywire.V0 {
		return message{Op: relaywire.Init, Version: []byte(relaywire.VersionV0), Name: []byte(cluster)}, new(olderChecker)
	}
	return initOf(cluster), new(Checker)
}

// giveSize gives a message of V0 the size that one of V1 would have: a transfer is a
// whole message, an acknowledgement allows one.
func giveSize(m *message) {
	switch m.Op {
	case relaywire.TunnelTransfer:
		m.Size = uint64(len(m.Body))
	case relaywire.TunnelAllow:
		m.Size = 1
	}
}
