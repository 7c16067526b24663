//go:build !linux

package node

func hostMemory() (octets int64, from string) { return 4 << 30, "a guess" }
