//go:build linux || darwin

package relaywire

import "testing"

func TestSocketPath(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		uid  int
		want string
	}{
		{map[string]string{"XDG_RUNTIME_DIR": "/run/user/1000", "HOME": "/home/u"}, 1000, "/run/user/1000/iris/55555.sock"},
		{map[string]string{"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/user/0/iris/55555.sock"},
		{nil, 0, "/run/iris/55555.sock"},
		{map[string]string{"STATE_DIRECTORY": "/var/lib/iris"}, 990, "/var/lib/iris/55555.sock"},
		{map[string]string{"XDG_RUNTIME_DIR": "relative", "HOME": "/home/u"}, 1000, "/home/u/.local/state/iris/55555.sock"},
		{nil, 1000, ""},
	} {
		if got := SocketPath(55555, getenv(c.env), c.uid); got != c.want {
			t.Errorf("SocketPath(55555, %v, %d) = %q, want %q", c.env, c.uid, got, c.want)
		}
	}
}

func TestStateDir(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		uid  int
		home string
		want string
	}{
		{map[string]string{"STATE_DIRECTORY": "/var/lib/x"}, 0, "/root", "/var/lib/x"},
		{map[string]string{"STATE_DIRECTORY": "/var/lib/x:/var/lib/y"}, 990, "", "/var/lib/x"},
		{map[string]string{"XDG_STATE_HOME": "/root/state"}, 0, "/root", "/var/lib/iris"},
		{map[string]string{"XDG_STATE_HOME": "/home/u/state"}, 1000, "/home/u", "/home/u/state/iris"},
		{map[string]string{"XDG_STATE_HOME": "state", "STATE_DIRECTORY": "x"}, 1000, "/home/u", "/home/u/.local/state/iris"},
		{nil, 1000, "/home/u", "/home/u/.local/state/iris"},
		{nil, 1000, "", ""},
	} {
		if got := StateDir(getenv(c.env), c.uid, c.home); got != c.want {
			t.Errorf("StateDir(%v, %d, %q) = %q, want %q", c.env, c.uid, c.home, got, c.want)
		}
	}
}

// getenv returns a look-up in env.
func getenv(env map[string]string) func(string) string {
	return func(name string) string { return env[name] }
}
