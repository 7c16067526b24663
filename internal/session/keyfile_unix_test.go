//go:build unix

package session

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is a user that is neither root nor the one who runs the tests.
const nobody = 65534

func TestGeneratedKeyIsPrivateWhateverTheUmask(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o777} {
		path := filepath.Join(t.TempDir(), "net.key")
		old := syscall.Umask(mask)
		err := GenerateKey(path)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != 0o600 {
			t.Errorf("umask %03o: the key has mode %v, want 0600", mask, got)
		}
	}
}

func TestReadableKeyFileIsRefused(t *testing.T) {
	path := keyFile(t)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601, 0o610, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKey(path, false)
		hasParts(t, err, path, fmt.Sprintf("mode %04o", mode), "chmod 600 "+path, "--insecure-key-file")
		if _, err := LoadKey(path, true); err != nil {
			t.Errorf("mode %o, insecure: %v", mode, err)
		}
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path, false); err != nil {
		t.Errorf("mode 400: %v", err)
	}
}

func TestForeignKeyFileIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give a file away")
	}
	path := keyFile(t)
	if err := os.Chown(path, nobody, -1); err != nil {
		t.Fatal(err)
	}
	_, err := LoadKey(path, false)
	hasParts(t, err, path, "belongs to uid 65534", "chown 0 "+path, "--insecure-key-file")
	if _, err := LoadKey(path, true); err != nil {
		t.Errorf("insecure: %v", err)
	}
}

func TestCredentialDirectoryIsExempt(t *testing.T) {
	path := keyFile(t)
	if err := os.Chmod(path, 0o440); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for _, c := range []struct{ flag, env string }{{"", ""}, {path, ""}, {"", path}} {
		if _, _, err := FindKey(c.flag, false, env(c.env, dir+"/"), strings.NewReader("")); err != nil {
			t.Errorf("--key %q, IRIS_KEY_FILE %q: %v", c.flag, c.env, err)
		}
	}

	// Only the directory itself is exempt.
	_, _, err := FindKey(path, false, env("", t.TempDir()), strings.NewReader(""))
	hasParts(t, err, "chmod 600")
}

// keyFile returns the path of a fresh key, named as in a credentials directory.
func keyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "iris.key")
	if err := GenerateKey(path); err != nil {
		t.Fatal(err)
	}
	return path
}
