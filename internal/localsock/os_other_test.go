//go:build !linux && !darwin

package localsock

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestUnsupportedSystemSaysSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "iris", "s")
	_, listenErr := Listen(path, Options{})
	_, dialErr := DialTrusted(path)
	for _, err := range []error{listenErr, dialErr, MakePrivateDir(path)} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("got %v, want errors.ErrUnsupported", err)
		}
	}
}
