package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/project-iris/iris/internal/relaywire"
)

// none is what --state and --socket are set to for doing without.
const none = "none"

// localSockets tells that this system has Unix sockets that both ends may trust.
const localSockets = runtime.GOOS == "linux" || runtime.GOOS == "darwin"

// stateDir returns the directory below which nodes keep what is theirs, for the
// value of --state. It is empty for none.
func stateDir(flag string) (string, error) {
	switch {
	case flag == none, flag == "" && !localSockets:
		return "", nil
	case flag != "":
		return flag, nil
	}
	dir := relaywire.StateDir(os.Getenv, os.Geteuid(), os.Getenv("HOME"))
	if dir == "" {
		return "", errors.New("no state directory, since HOME is not set: name one with --state DIR, or go without one with --state none")
	}
	return dir, nil
}

// nodeDir returns the name of a node's own directory in the state directory.
// The name of its network is empty for a dev node.
func nodeDir(network string, port int) string {
	return networkDir(network) + "-" + strconv.Itoa(port)
}

// networkDir returns what stands for a network in the name of a directory: a
// short plain name stands for itself, others are told apart by a hash. So names
// never share a directory, not even where file names have no case, and the path
// of the admin socket stays short.
func networkDir(network string) string {
	const (
		longest = 24
		shown   = 8 // of a name that is hashed
	)
	if network == "" {
		return "dev"
	}
	safe := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, network)
	if safe == network && len(network) <= longest && network != "dev" {
		return network
	}
	sum := sha256.Sum256([]byte(network))
	return safe[:min(shown, len(safe))] + "~" + hex.EncodeToString(sum[:8])
}

// splitNodeDir returns the two parts of a name that nodeDir made.
func splitNodeDir(name string) (network string, port int, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return "", 0, false
	}
	port, err := strconv.Atoi(name[i+1:])
	return name[:i], port, err == nil
}

// absolute makes path absolute, so that it can be shown to people elsewhere.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
