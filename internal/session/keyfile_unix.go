//go:build unix

package session

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkPrivate refuses the key file at path unless it belongs to root or to
// the user of this process and nobody else may use it.
func checkPrivate(path string, info fs.FileInfo) error {
	owner, self := int(info.Sys().(*syscall.Stat_t).Uid), os.Geteuid()
	if owner != 0 && owner != self {
		return fmt.Errorf("it belongs to uid %d, who could replace it: chown %d %s, or --insecure-key-file for a container secret", owner, self, path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("its mode %04o lets others use it: chmod 600 %s, or --insecure-key-file for a container secret", mode, path)
	}
	return nil
}
