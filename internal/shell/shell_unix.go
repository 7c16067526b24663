//go:build unix

package shell

import (
	"context"
	"os/exec"
	"syscall"
)

// Command returns a command of the shell, in a Group of its own.
func Command(ctx context.Context, text string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", text)
	Group(cmd)
	return cmd
}

// Group has the end of cmd's context kill those that cmd started too. They are also out
// of reach of a terminal's Ctrl-C, which is for us.
func Group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// Sweep kills those that a cmd with a Group started, and left behind at its end. It has
// to come right after that: then nobody else has the number of the group.
func Sweep(cmd *exec.Cmd) {
	if cmd.Process != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}
