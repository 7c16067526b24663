//go:build !linux

package node

// hostMemory returns the octets of memory this process may use at most: a guess
// that suits any host, where the system is not asked.
func hostMemory() int64 { return 4 << 30 }
