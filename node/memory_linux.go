package node

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

func hostMemory() (octets int64, from string) { return memoryOf(os.DirFS("/")) }

// memoryOf returns the octets of memory this process may use at most, by the files of
// the system at root, and which of them says so: the least of what the host has and
// what its control group and those above it are limited to, of either version. What
// memory.high names is a limit too: beyond it the kernel holds a process up.
func memoryOf(root fs.FS) (octets int64, from string) {
	octets, from = 4<<30, "a guess"
	for line := range lines(root, "proc/meminfo") {
		if kb, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			if n, ok := positive(strings.TrimSuffix(strings.TrimSpace(kb), "kB")); ok {
				octets, from = n<<10, "MemTotal of /proc/meminfo"
			}
		}
	}
	for line := range lines(root, "proc/self/cgroup") {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // number, controllers, group
		if len(parts) != 3 {
			continue
		}
		mounts, files := []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"}, []string{"memory.max", "memory.high"}
		if parts[1] != "" {
			mounts, files = []string{"sys/fs/cgroup/memory"}, []string{"memory.limit_in_bytes"}
			if !strings.Contains(","+parts[1]+",", ",memory,") {
				continue
			}
		}
		// A container may see the group's name on the host, but its own files only:
		// at the root, where the walk ends.
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			for _, mount := range mounts {
				for _, file := range files {
					name := path.Join(mount, group, file)
					for line := range lines(root, name) {
						if n, ok := positive(line); ok && n < octets {
							octets, from = n, "/"+name
						}
					}
				}
			}
			if group == "/" {
				break
			}
		}
	}
	return octets, from
}

// lines returns the lines of a file, none if it cannot be read.
func lines(root fs.FS, name string) func(func(string) bool) {
	b, _ := fs.ReadFile(root, name)
	return strings.Lines(string(b))
}

// positive reads a number; "max" is none.
func positive(text string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil && n > 0
}
