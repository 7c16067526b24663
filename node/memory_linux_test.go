package node

import (
	"testing"
	"testing/fstest"
)

func TestMemoryIsTheLeastOfHostAndGroups(t *testing.T) {
	const meminfo = "MemTotal:        8000000 kB\nMemFree:         1000 kB\n"
	for _, test := range []struct {
		name  string
		files map[string]string
		want  int64
		from  string
	}{
		{"nothing to read", nil, 4 << 30, "a guess"},
		{"a host", map[string]string{"proc/meminfo": meminfo}, 8_000_000 << 10, "MemTotal of /proc/meminfo"},
		{"no limit", map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "0::/system.slice/iris.service\n",
			"sys/fs/cgroup/system.slice/iris.service/memory.max": "max\n",
		}, 8_000_000 << 10, "MemTotal of /proc/meminfo"},
		{"its own group", map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "0::/system.slice/iris.service\n",
			"sys/fs/cgroup/system.slice/iris.service/memory.max": "1073741824\n",
			"sys/fs/cgroup/system.slice/memory.max":              "2147483648\n",
		}, 1 << 30, "/sys/fs/cgroup/system.slice/iris.service/memory.max"},
		{"the group above", map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "0::/kubepods/pod1/c\n",
			"sys/fs/cgroup/kubepods/pod1/c/memory.max": "max\n",
			"sys/fs/cgroup/kubepods/pod1/memory.max":   "536870912\n",
			"sys/fs/cgroup/kubepods/memory.max":        "4294967296\n",
		}, 512 << 20, "/sys/fs/cgroup/kubepods/pod1/memory.max"},
		{"where the kernel slows it down", map[string]string{
			"proc/meminfo":                meminfo,
			"proc/self/cgroup":            "0::/g\n",
			"sys/fs/cgroup/g/memory.max":  "1073741824\n",
			"sys/fs/cgroup/g/memory.high": "805306368\n",
		}, 768 << 20, "/sys/fs/cgroup/g/memory.high"},
		{"a container, its group seen from outside", map[string]string{
			"proc/meminfo":             meminfo,
			"proc/self/cgroup":         "0::/../../docker/abc\n",
			"sys/fs/cgroup/memory.max": "268435456\n",
		}, 256 << 20, "/sys/fs/cgroup/memory.max"},
		{"version 1, nested", map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "12:cpu,cpuacct:/docker/abc\n9:memory:/docker/abc\n1:name=systemd:/docker/abc\n",
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n",
			"sys/fs/cgroup/memory/docker/memory.limit_in_bytes":     "1073741824\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":            "9223372036854771712\n",
		}, 1 << 30, "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes"},
		{"both versions at once", map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "4:memory,hugetlb:/a\n0::/b\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "2147483648\n",
			"sys/fs/cgroup/unified/b/memory.max":           "1073741824\n",
		}, 1 << 30, "/sys/fs/cgroup/unified/b/memory.max"},
		{"more than there is", map[string]string{
			"proc/meminfo":             "MemTotal: 1024 kB\n",
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "1073741824\n",
		}, 1 << 20, "MemTotal of /proc/meminfo"},
		{"nonsense", map[string]string{
			"proc/meminfo":             "MemTotal: much\n\n",
			"proc/self/cgroup":         "\n0:\nnonsense\n0::relative\n",
			"sys/fs/cgroup/memory.max": "-1\n",
		}, 4 << 30, "a guess"},
	} {
		root := fstest.MapFS{}
		for name, text := range test.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got, from := memoryOf(root); got != test.want || from != test.from {
			t.Errorf("%s: %d octets by %s, want %d by %s", test.name, got, from, test.want, test.from)
		}
	}
}
