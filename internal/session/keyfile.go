package session

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// GenerateKey writes a fresh Ed25519 network key to a new file at path: PKCS#8
// in PEM, mode 0600 whatever the umask, on disk when it returns. Where
// anything stands at path already, it fails with an error that is
// [fs.ErrExist] and leaves that alone.
//
// On Windows the file has the access list of its directory.
func GenerateKey(path string) error {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return fmt.Errorf("generate a network key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("generate a network key: %w", err)
	}

	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("a network key is never written over a file: choose another name, or move it away: %w", err)
	}
	if err != nil {
		return fmt.Errorf("write the network key: %w", err)
	}
	err = errors.Join(
		f.Chmod(0o600), // the umask may have taken our own bits
		pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		f.Sync(),
		f.Close(),
	)
	if err != nil {
		os.Remove(path) // half a key would only be in the way of the next try
		return fmt.Errorf("write the network key: %w", err)
	}
	return nil
}

// LoadKey reads the network key in the file at path, as [ParseKey] does. It
// refuses a file that belongs to neither root nor the user of this process,
// and one that group or others may use in any way; insecure lifts both, for
// secrets that a container runtime mounts with the modes of its choice.
//
// On Windows owner and access list are not checked.
func LoadKey(path string, insecure bool) (*Key, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("network key: %w; %s", err, makeOne)
	}
	if err != nil {
		return nil, fmt.Errorf("network key: %w", err)
	}
	defer f.Close()

	// The open file is what is checked: the name may stand for another by now.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("network key: %w", err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("network key %s: it is a directory; name the file in it", path)
	}
	if !insecure {
		if err := checkPrivate(path, info); err != nil {
			return nil, fmt.Errorf("network key %s: %w", path, err)
		}
	}
	key, err := ReadKey(f)
	if err != nil {
		return nil, fmt.Errorf("network key %s: %w", path, err)
	}
	return key, nil
}

// ReadKey reads the network key from r up to its end, as [ParseKey] does. It
// reads little more than the 64 KiB that a key may have.
func ReadKey(r io.Reader) (*Key, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return ParseKey(data)
}

// ErrNoKey tells that none of the places where FindKey looks names a network key.
var ErrNoKey = errors.New(`no network key: make one with "iris keygen" and name its file with --key or in IRIS_KEY_FILE`)

// FindKey reads the network key from the first place that names one, and
// returns the name of that place with it:
//
//	--key FILE                       flag
//	--key -                          flag, read from stdin
//	IRIS_KEY_FILE                    names a file
//	$CREDENTIALS_DIRECTORY/iris.key  where there is one
//
// A place that names a key which cannot be used is an error: FindKey does not
// go on to the next. Where none names one the error is [ErrNoKey]. Files are
// checked as [LoadKey] does, but for those in $CREDENTIALS_DIRECTORY: the
// service manager guards that with an access list, which shows as group bits.
func FindKey(flag string, insecure bool, getenv func(string) string, stdin io.Reader) (key *Key, source string, err error) {
	credentials := getenv("CREDENTIALS_DIRECTORY")
	load := func(path, source string) (*Key, string, error) {
		exempt := credentials != "" && filepath.Dir(path) == filepath.Clean(credentials)
		key, err := LoadKey(path, insecure || exempt)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", source, err)
		}
		return key, source, nil
	}

	if flag == "-" {
		key, err := ReadKey(stdin)
		if err != nil {
			return nil, "", fmt.Errorf("network key on standard input: %w", err)
		}
		return key, "--key -", nil
	}
	if flag != "" {
		return load(flag, "--key")
	}
	if path := getenv("IRIS_KEY_FILE"); path != "" {
		return load(path, "IRIS_KEY_FILE")
	}
	if credentials != "" {
		key, source, err := load(filepath.Join(credentials, "iris.key"), "CREDENTIALS_DIRECTORY")
		// The directory may be there for other credentials alone.
		if !errors.Is(err, fs.ErrNotExist) {
			return key, source, err
		}
	}
	return nil, "", ErrNoKey
}
