package relaywire

import (
	"path/filepath"
	"strconv"
	"strings"
)

// DefaultPort is the TCP port programs look for the relay of their host on.
const DefaultPort = 55555

// SocketPath returns the path of the socket of the relay on TCP port, for a
// node and for a program of the user uid: the same for both, where they run
// as the same user in the same environment. It is
//
//	$XDG_RUNTIME_DIR/iris/PORT.sock  where that is set, else
//	/run/iris/PORT.sock              for root, else
//	PORT.sock                        in StateDir with $HOME as the home
//
// and empty where there is no state directory either.
func SocketPath(port int, getenv func(string) string, uid int) string {
	name := strconv.Itoa(port) + ".sock"
	if dir := absolute(getenv("XDG_RUNTIME_DIR")); dir != "" {
		return filepath.Join(dir, "iris", name)
	}
	if uid == 0 {
		return "/run/iris/" + name
	}
	if dir := StateDir(getenv, uid, getenv("HOME")); dir != "" {
		return filepath.Join(dir, name)
	}
	return ""
}

// StateDir returns the directory below which nodes of the user uid keep what
// outlives them. It is
//
//	$STATE_DIRECTORY       the first, where a service manager set several, else
//	/var/lib/iris          for root, else
//	$XDG_STATE_HOME/iris   where that is set, else
//	~/.local/state/iris    with home as ~
//
// and empty where home is needed and empty. Variables that hold a relative
// path are taken for unset.
func StateDir(getenv func(string) string, uid int, home string) string {
	first, _, _ := strings.Cut(getenv("STATE_DIRECTORY"), ":")
	if dir := absolute(first); dir != "" {
		return dir
	}
	if uid == 0 {
		return "/var/lib/iris"
	}
	if dir := absolute(getenv("XDG_STATE_HOME")); dir != "" {
		return filepath.Join(dir, "iris")
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".local", "state", "iris")
}

// absolute returns dir if it is an absolute path, else nothing.
func absolute(dir string) string {
	if !filepath.IsAbs(dir) {
		return ""
	}
	return dir
}
