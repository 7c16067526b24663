package session

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestGeneratedKeyLoads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.key")
	if err := GenerateKey(path); err != nil {
		t.Fatal(err)
	}
	key, err := LoadKey(path, false)
	if err != nil {
		t.Fatal(err)
	}

	other := filepath.Join(t.TempDir(), "net.key")
	if err := GenerateKey(other); err != nil {
		t.Fatal(err)
	}
	second, err := LoadKey(other, false)
	if err != nil {
		t.Fatal(err)
	}
	if key.Fingerprint() == second.Fingerprint() {
		t.Error("two generated keys are the same")
	}
}

func TestKeyIsNeverWrittenOverAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.key")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := GenerateKey(path)
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("GenerateKey over a file = %v, want fs.ErrExist", err)
	}
	hasParts(t, err, path, "choose another name")
	if data, _ := os.ReadFile(path); string(data) != "precious" {
		t.Errorf("the file holds %q now", data)
	}
}

func TestMissingKeyFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.key")
	_, err := LoadKey(path, false)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadKey of nothing = %v, want fs.ErrNotExist", err)
	}
	hasParts(t, err, path, "iris keygen")
}

func TestDirectoryAsKeyFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, err := LoadKey(dir, true)
	hasParts(t, err, dir, "is a directory", "name the file")
}

func TestRefusalNamesTheKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.key")
	if err := os.WriteFile(path, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadKey(path, false)
	hasParts(t, err, path, "not an Ed25519 or RSA private key")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows what the file holds: %v", err)
	}
}

func TestEndlessKeyIsRefused(t *testing.T) {
	_, err := ReadKey(endless{})
	hasParts(t, err, "larger than 64 KiB")
}

// endless is a reader without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestUnreadableKeyIsRefused(t *testing.T) {
	broken := errors.New("broken")
	if _, err := ReadKey(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("ReadKey of a broken reader = %v, want %v", err, broken)
	}
}

func TestKeySourcesInOrder(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) (path, fingerprint string) {
		path = filepath.Join(dir, name)
		if err := GenerateKey(path); err != nil {
			t.Fatal(err)
		}
		key, err := LoadKey(path, false)
		if err != nil {
			t.Fatal(err)
		}
		return path, key.Fingerprint()
	}
	flagFile, flagKey := write("flag.key")
	envFile, envKey := write("env.key")
	_, credentialKey := write("iris.key")
	stdinKey, stdin := newKey(t)

	for _, c := range []struct {
		name, flag, env, credentials string
		source, key                  string
	}{
		{"all", flagFile, envFile, dir, "--key", flagKey},
		{"stdin", "-", envFile, dir, "--key -", stdinKey.Fingerprint()},
		{"variable", "", envFile, dir, "IRIS_KEY_FILE", envKey},
		{"credential", "", "", dir, "CREDENTIALS_DIRECTORY", credentialKey},
	} {
		key, source, err := FindKey(c.flag, false, env(c.env, c.credentials), strings.NewReader(stdin))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if source != c.source || key.Fingerprint() != c.key {
			t.Errorf("%s: the key comes from %s, want %s", c.name, source, c.source)
		}
	}
}

func TestNoKeySaysHowToGetOne(t *testing.T) {
	otherCredentials := t.TempDir()
	for _, getenv := range []func(string) string{env("", ""), env("", otherCredentials)} {
		_, _, err := FindKey("", false, getenv, strings.NewReader(""))
		if !errors.Is(err, ErrNoKey) {
			t.Errorf("FindKey of nothing = %v, want %v", err, ErrNoKey)
		}
		hasParts(t, err, "iris keygen", "--key", "IRIS_KEY_FILE")
	}
}

func TestUnusableKeyIsNotPassedOver(t *testing.T) {
	dir := t.TempDir()
	if err := GenerateKey(filepath.Join(dir, "iris.key")); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.key")
	_, _, err := FindKey("", false, env(missing, dir), strings.NewReader(""))
	hasParts(t, err, "IRIS_KEY_FILE", missing)
	_, _, err = FindKey(missing, false, env("", dir), strings.NewReader(""))
	hasParts(t, err, "--key", missing)
	_, _, err = FindKey("-", false, env("", dir), strings.NewReader(""))
	hasParts(t, err, "standard input", "empty")
}

// env returns an environment with these two variables.
func env(keyFile, credentials string) func(string) string {
	return func(name string) string {
		switch name {
		case "IRIS_KEY_FILE":
			return keyFile
		case "CREDENTIALS_DIRECTORY":
			return credentials
		}
		return ""
	}
}
