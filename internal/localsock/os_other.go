//go:build !linux && !darwin

package localsock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Where supported fails, nothing below it is ever reached.

func supported() error {
	return fmt.Errorf("sockets that know their users are not supported on this system, use the TCP port: %w", errors.ErrUnsupported)
}

const maxPath = 0

func owner(fs.FileInfo) int { return -1 }

// Lock fails on this system.
func Lock(string) (*os.File, error) { return nil, supported() }
func peerUID(int) (int, error)      { return -1, supported() }
