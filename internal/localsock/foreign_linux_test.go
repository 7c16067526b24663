package localsock

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Two users that are neither root nor the one who runs the tests.
const (
	stranger = 65534
	guest    = 65533
)

// commandAs is command run by another user, which takes root.
func commandAs(t *testing.T, uid uint32, what, path string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may start a process of another user")
	}
	cmd := command(what, path)
	cmd.Path = "/proc/self/exe" // the binary may lie where only we may go
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd
}

// output runs cmd, a child that dials, and returns what it prints.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestForeignUserCannotReachTheSocket(t *testing.T) {
	path := socketPath(t)
	serve(t, path, Options{})
	if err := os.Chmod(filepath.Dir(filepath.Dir(path)), 0o711); err != nil {
		t.Fatal(err)
	}
	want := "dial unix " + path + ": connect: permission denied"
	if got := output(t, commandAs(t, stranger, "dial", path)); got != want {
		t.Errorf("the stranger says %s, want %s", got, want)
	}
}

func TestForeignUserIsClosedAndCounted(t *testing.T) {
	path, refused := openSocket(t, Options{})
	for range 2 {
		if got := output(t, commandAs(t, stranger, "dial", path)); got != `told ""` {
			t.Errorf("the stranger says %s, want to be told nothing", got)
		}
		// The stranger did not end the service.
		if got := output(t, command("dial", path)); got != `told "hello"` {
			t.Errorf("our own user says %s, want hello", got)
		}
	}
	if got := refused(); !slices.Equal(got, []int{stranger, stranger}) {
		t.Errorf("refused: %v, want uid %d twice", got, stranger)
	}
}

func TestMoreUsersAreLetIn(t *testing.T) {
	path, refused := openSocket(t, Options{UIDs: []int{guest}})
	if got := output(t, commandAs(t, guest, "dialTrusted", path)); got != `told "hello"` {
		t.Errorf("the guest says %s, want hello", got)
	}
	if got := output(t, commandAs(t, stranger, "dial", path)); got != `told ""` {
		t.Errorf("the stranger says %s, want to be told nothing", got)
	}
	if got := refused(); !slices.Equal(got, []int{stranger}) {
		t.Errorf("refused: %v, want uid %d", got, stranger)
	}
}

func TestOtherUsersAreLetInLater(t *testing.T) {
	path := socketPath(t)
	l, _ := serve(t, path, Options{UIDs: []int{guest}})
	if err := os.Chmod(filepath.Dir(filepath.Dir(path)), 0o711); err != nil {
		t.Fatal(err)
	}
	mode := func(want os.FileMode) {
		t.Helper()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("the socket has mode %v, error %v, want %v", info.Mode().Perm(), err, want)
		}
	}
	mode(0o666)
	if err := l.Trust([]int{stranger}); err != nil {
		t.Fatal(err)
	}
	if got := output(t, commandAs(t, stranger, "dialTrusted", path)); got != `told "hello"` {
		t.Errorf("who is let in now says %s, want hello", got)
	}
	if got := output(t, commandAs(t, guest, "dial", path)); got != `told ""` {
		t.Errorf("who was let in before says %s, want to be told nothing", got)
	}
	if err := l.Trust(nil); err != nil {
		t.Fatal(err)
	}
	mode(0o600)
}

func TestForeignServerUID(t *testing.T) {
	dir := testDir(t)
	path := filepath.Join(dir, "s")
	// The squatter comes while the directory is open to all.
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	startServer(t, commandAs(t, stranger, "squat", path))
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	_, err := DialTrusted(path)
	hasParts(t, err, path, "uid 65534 serves this socket", "do not trust it")
}

func TestForeignDirectoryIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give a directory away")
	}
	dir := filepath.Join(testDir(t), "foreign")
	makeMode(t, dir, 0o700)
	makeMode(t, filepath.Join(dir, "inner"), 0o700)
	if err := os.Chown(dir, stranger, -1); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "s"), filepath.Join(dir, "inner", "s")} {
		_, err := Listen(path, Options{})
		hasParts(t, err, path, "directory "+dir+" belongs to uid 65534", "chown 0 "+dir)
		_, err = DialTrusted(path)
		hasParts(t, err, path, "directory "+dir+" belongs to uid 65534", "chown 0 "+dir)
	}
	hasParts(t, MakePrivateDir(dir), dir, "belongs to uid 65534", "chown 0 "+dir)
}

// openSocket listens with opt on a socket that the file system keeps from
// nobody, so that the check of the user alone decides. It returns the path and
// a function that stops listening and returns the users refused.
func openSocket(t *testing.T, opt Options) (path string, refused func() []int) {
	t.Helper()
	path = socketPath(t)
	var uids []int
	opt.Refused = func(uid int) { uids = append(uids, uid) }
	_, stop := serve(t, path, opt)
	for _, file := range []string{filepath.Dir(filepath.Dir(path)), filepath.Dir(path)} {
		if err := os.Chmod(file, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	return path, func() []int {
		stop()
		return uids
	}
}
