//go:build linux || darwin

package localsock

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestOurOwnUserIsServed(t *testing.T) {
	path := socketPath(t)
	l, _ := serve(t, path, Options{})
	if got := l.Addr().String(); got != path {
		t.Errorf("Addr() = %s, want %s", got, path)
	}
	c, err := DialTrusted(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if uid, err := PeerUID(c); uid != os.Geteuid() || err != nil {
		t.Errorf("PeerUID() = %d, %v, want %d", uid, err, os.Geteuid())
	}
	if data, err := io.ReadAll(c); string(data) != "hello" || err != nil {
		t.Errorf("the server says %q, %v, want hello", data, err)
	}
}

func TestSocketIsPrivateWhateverTheUmask(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o777} {
		path := socketPath(t)
		old := syscall.Umask(mask)
		l, err := Listen(path, Options{})
		syscall.Umask(old)
		if err != nil {
			t.Fatalf("umask %03o: %v", mask, err)
		}
		hasMode(t, path, 0o600)
		hasMode(t, filepath.Dir(path), 0o700)
		l.Close()
	}
}

func TestMissingParentsAreMade(t *testing.T) {
	dir := filepath.Join(testDir(t), "a")
	serve(t, filepath.Join(dir, "b", "c", "s"), Options{})
	for _, made := range []string{"", "b", "b/c"} {
		hasMode(t, filepath.Join(dir, made), 0o700)
	}
}

func TestSocketForMoreUsersIsOpen(t *testing.T) {
	path := socketPath(t)
	serve(t, path, Options{UIDs: []int{12345}})
	hasMode(t, path, 0o666)
	hasMode(t, filepath.Dir(path), 0o711)
}

func TestPrivateDirectoryIsOpenedForMoreUsers(t *testing.T) {
	dir := testDir(t)
	serve(t, filepath.Join(dir, "s"), Options{UIDs: []int{12345}})
	hasMode(t, dir, 0o711)
}

func TestSecondListenerIsTold(t *testing.T) {
	path := socketPath(t)
	first, _ := serve(t, path, Options{})
	_, err := Listen(path, Options{})
	if !errors.Is(err, ErrTaken) {
		t.Fatalf("the second Listen = %v, want ErrTaken", err)
	}
	hasParts(t, err, path, "stop it or choose another path")

	c, err := DialTrusted(path)
	if err != nil {
		t.Fatalf("after the second try the first is out of reach: %v", err)
	}
	c.Close()
	first.Close()
	serve(t, path, Options{})
}

func TestOneOfManyListenersWins(t *testing.T) {
	path := socketPath(t)
	if err := MakePrivateDir(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	leaveStale(t, path)
	var all sync.WaitGroup
	winners := make(chan *Listener, 8)
	for range cap(winners) {
		all.Go(func() {
			l, err := Listen(path, Options{})
			if err == nil {
				winners <- l
			} else if !errors.Is(err, ErrTaken) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(winners)
	if len(winners) != 1 {
		t.Errorf("%d listeners own the path, want 1", len(winners))
	}
	for l := range winners {
		l.Close()
	}
}

func TestSocketOfOtherServerIsLeftAlone(t *testing.T) {
	path := filepath.Join(testDir(t), "s")
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := Listen(path, Options{}); !errors.Is(err, ErrTaken) {
		t.Errorf("Listen over a socket in use = %v, want ErrTaken", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the other server is out of reach: %v", err)
	} else {
		c.Close()
	}
}

func TestStaleSocket(t *testing.T) {
	path := filepath.Join(testDir(t), "s")
	leaveStale(t, path)
	serve(t, path, Options{})
	c, err := DialTrusted(path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestSocketOfKilledProcessIsReplaced(t *testing.T) {
	path := socketPath(t)
	kill := startServer(t, command("listen", path))
	if _, err := Listen(path, Options{}); !errors.Is(err, ErrTaken) {
		t.Fatalf("Listen beside a living process = %v, want ErrTaken", err)
	}
	kill()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the killed process left no socket: %v", err)
	}
	serve(t, path, Options{})
}

func TestOtherFilesAreNotRemoved(t *testing.T) {
	path := filepath.Join(testDir(t), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Listen(path, Options{})
	hasParts(t, err, path, "not a socket", "move it away")
	if data, _ := os.ReadFile(path); string(data) != "precious" {
		t.Errorf("the file holds %q now", data)
	}
}

func TestCloseRemovesTheSocket(t *testing.T) {
	path := socketPath(t)
	l, _ := serve(t, path, Options{})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket after Close: %v, want fs.ErrNotExist", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v, want net.ErrClosed", err)
	}
	if _, err := DialTrusted(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("DialTrusted after Close = %v, want fs.ErrNotExist", err)
	}
}

func TestNothingListens(t *testing.T) {
	path := filepath.Join(testDir(t), "s")
	leaveStale(t, path)
	if _, err := DialTrusted(path); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("DialTrusted of a stale socket = %v, want ECONNREFUSED", err)
	}
	missing := filepath.Join(testDir(t), "missing", "s")
	if _, err := DialTrusted(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("DialTrusted of nothing = %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Lstat(filepath.Dir(missing)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("DialTrusted made the directory")
	}
}

func TestSocketInTmpIsRefused(t *testing.T) {
	sticky := filepath.Join(testDir(t), "tmp")
	makeMode(t, sticky, 0o777|fs.ModeSticky)
	tmp, err := filepath.EvalSymlinks("/tmp") // a link on macOS
	if err != nil {
		t.Fatal(err)
	}
	for _, tmp := range []string{sticky, tmp} {
		dir := filepath.Join(tmp, "iris-test-never-made")
		for _, path := range []string{filepath.Join(tmp, "s"), filepath.Join(dir, "s")} {
			_, err := Listen(path, Options{})
			hasParts(t, err, path, "directory "+tmp+" ", "open to all", "choose a path elsewhere")
			_, err = DialTrusted(path)
			hasParts(t, err, path, "directory "+tmp+" ", "open to all", "choose a path elsewhere")
		}
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was made", dir)
		}
	}
}

func TestDirectoryThatOthersMayChangeIsRefused(t *testing.T) {
	for _, mode := range []fs.FileMode{0o720, 0o702, 0o777} {
		open := filepath.Join(testDir(t), "open")
		makeMode(t, open, mode)
		makeMode(t, filepath.Join(open, "inner"), 0o700)
		for _, path := range []string{filepath.Join(open, "s"), filepath.Join(open, "inner", "s")} {
			_, err := Listen(path, Options{})
			hasParts(t, err, path, "directory "+open+" ", "writable by others", "chmod go-w "+open)
			_, err = DialTrusted(path)
			hasParts(t, err, path, "directory "+open+" ", "writable by others", "chmod go-w "+open)
		}
	}
}

func TestLinksAreFollowedWithCare(t *testing.T) {
	dir := testDir(t)
	open := filepath.Join(dir, "open")
	makeMode(t, open, 0o777)
	makeMode(t, filepath.Join(dir, "real"), 0o700)
	for link, target := range map[string]string{
		"good":       "real/../real",
		"via":        filepath.Join(open, "forth"),
		"open/forth": "../real",
		"loop":       "loop",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}

	serve(t, filepath.Join(dir, "good", "s"), Options{})
	c, err := DialTrusted(filepath.Join(dir, "good", "s"))
	if err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	// It ends in the same directory, by a link that anybody could change.
	_, err = DialTrusted(filepath.Join(dir, "via", "s"))
	hasParts(t, err, "directory "+open+" ", "writable by others")
	_, err = DialTrusted(filepath.Join(dir, "loop", "s"))
	hasParts(t, err, "too many symbolic links")
}

func TestFileAsDirectoryIsRefused(t *testing.T) {
	file := filepath.Join(testDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Listen(filepath.Join(file, "s"), Options{})
	hasParts(t, err, file+" is not a directory", "choose another path")
	hasParts(t, MakePrivateDir(file), file, "not a directory", "choose another path")
}

func TestLongPathIsRefused(t *testing.T) {
	dir := testDir(t)
	fits := filepath.Join(dir, strings.Repeat("s", maxPath-len(dir)-1))
	serve(t, fits, Options{})
	_, err := Listen(fits+"s", Options{})
	hasParts(t, err, "choose a shorter one")
	_, err = DialTrusted(fits + "s")
	hasParts(t, err, "choose a shorter one")
}

func TestPathIsNeverAnAbstractName(t *testing.T) {
	t.Chdir(testDir(t))
	serve(t, "@iris", Options{})
	hasMode(t, "@iris", 0o600)
	_, err := Listen("", Options{})
	hasParts(t, err, "no path")
}

func TestOnlyUnixConnectionsHaveAUser(t *testing.T) {
	one, two := net.Pipe()
	defer one.Close()
	defer two.Close()
	if uid, err := PeerUID(one); uid != -1 || err == nil {
		t.Errorf("PeerUID of a pipe = %d, %v, want -1 and an error", uid, err)
	}
}

func TestPrivateDirectory(t *testing.T) {
	dir := testDir(t)
	path := filepath.Join(dir, "state", "iris")
	for _, when := range []string{"at first", "again"} {
		if err := MakePrivateDir(path); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		hasMode(t, path, 0o700)
		hasMode(t, filepath.Dir(path), 0o700)
	}
	for _, mode := range []fs.FileMode{0o710, 0o701, 0o750, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		hasParts(t, MakePrivateDir(path), path, "lets others in", "chmod 700 "+path)
		hasMode(t, path, mode)
	}
}

// leaveStale leaves a socket at path that nobody listens on.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// makeMode makes a directory with mode whatever the umask.
func makeMode(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := makeDir(path, mode); err != nil {
		t.Fatal(err)
	}
}
