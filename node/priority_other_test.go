//go:build !linux

package node

import "os/exec"

// startIdle starts cmd; there is no priority to be had here.
func startIdle(cmd *exec.Cmd) error { return cmd.Start() }
