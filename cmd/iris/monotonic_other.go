//go:build !linux

package main

// monotonic returns nothing: its only use is a service manager that other systems lack.
func monotonic() int64 { return 0 }
