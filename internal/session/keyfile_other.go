//go:build !unix

package session

import "io/fs"

// checkPrivate accepts every file: there are no owner and mode bits to judge by.
func checkPrivate(string, fs.FileInfo) error { return nil }
