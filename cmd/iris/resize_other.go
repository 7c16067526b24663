//go:build !unix

package main

import "os"

// notifyResized tells nothing here: the next frame has the new size.
func notifyResized(chan<- os.Signal) {}
