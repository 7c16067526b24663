package localsock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// MakePrivateDir makes the directory at path, and those above it that are
// missing, with mode 0700. One that is there already must belong to root or
// to our user and have no mode bit for anybody else: what was open to others
// before is for a person to look at, so it is refused and not mended.
func MakePrivateDir(path string) error {
	if err := makePrivateDir(path); err != nil {
		return fmt.Errorf("private directory %s: %w", path, err)
	}
	return nil
}

func makePrivateDir(path string) error {
	if err := supported(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := makeDir(path, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("it is not a directory: move it away or choose another path")
	}
	if self, owner := os.Geteuid(), owner(info); owner != 0 && owner != self {
		return fmt.Errorf("it belongs to uid %d: chown %d %s, or choose another path", owner, self, path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("its mode %04o lets others in: see that nobody meddled with it, then chmod 700 %s", mode, path)
	}
	return nil
}

// makeDir makes one directory, with mode whatever the umask, unless something
// stands there.
func makeDir(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// widen adds bits to the mode of dir where it lacks some.
func widen(dir string, bits fs.FileMode) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&bits != bits {
		return os.Chmod(dir, mode|bits)
	}
	return nil
}

// checkTrusted fails at the first directory on the way to dir, an absolute
// path, that somebody besides root and our user could change. With a mode it
// makes those that are missing; with 0 a missing one is an error.
//
// It goes down from the root, through symbolic links, one name at a time:
// whoever can change any directory on the way could lead us elsewhere.
func checkTrusted(dir string, mode fs.FileMode) error {
	links := 0
	at := "/"
	for names := strings.Split(dir, "/"); len(names) > 0; {
		next := filepath.Join(at, names[0]) // at has no links in it, so .. means its parent
		names = names[1:]
		info, err := os.Lstat(next)
		if mode != 0 && errors.Is(err, fs.ErrNotExist) {
			if err := makeDir(next, mode); err != nil {
				return err
			}
			info, err = os.Lstat(next)
		}
		if err != nil {
			return err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			if err := checkDir(next, info); err != nil {
				return err
			}
			at = next
			continue
		}

		if links++; links > 40 {
			return fmt.Errorf("%s: too many symbolic links", dir)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		names = append(strings.Split(target, "/"), names...)
	}
	return nil
}

// checkDir fails where somebody besides root and our user could change dir.
func checkDir(dir string, info fs.FileInfo) error {
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory: choose another path", dir)
	}
	if self, owner := os.Geteuid(), owner(info); owner != 0 && owner != self {
		return fmt.Errorf("directory %s belongs to uid %d, who could replace what is in it: chown %d %s, or choose a path elsewhere", dir, owner, self, dir)
	}
	mode := info.Mode()
	switch {
	case mode.Perm()&0o022 == 0:
		return nil
	case mode&fs.ModeSticky != 0:
		return fmt.Errorf("directory %s is open to all (%v), so anybody could have made what is in it: choose a path elsewhere", dir, mode)
	default:
		return fmt.Errorf("directory %s is writable by others (%v), who could replace what is in it: chmod go-w %s, or choose a path elsewhere", dir, mode, dir)
	}
}
