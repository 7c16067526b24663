package node

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// hostMemory returns the octets of memory this process may use at most: its
// control group's limit, or all there is.
func hostMemory() int64 {
	total := int64(4 << 30)
	if f, err := os.Open("/proc/meminfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if kb, ok := strings.CutPrefix(s.Text(), "MemTotal:"); ok {
				if n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(kb, "kB")), 10, 64); err == nil {
					total = n << 10
				}
				break
			}
		}
	}
	// The group of this process and every group above it.
	group := "/"
	if b, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		for line := range strings.Lines(string(b)) {
			if path, ok := strings.CutPrefix(line, "0::"); ok {
				group = strings.TrimSpace(path)
			}
		}
	}
	for ; ; group = filepath.Dir(group) {
		if b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", group, "memory.max")); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 {
				total = min(total, n)
			}
		}
		if group == "/" || group == "." {
			return total
		}
	}
}
