//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// killAll has the end of cmd's context kill those that cmd started too. They are
// also out of reach of a terminal's Ctrl-C, which is for us.
func killAll(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
