package shell

import (
	"context"
	"os/exec"
	"strconv"
	"syscall"
)

// Command returns a command of the shell, in a Group of its own.
func Command(ctx context.Context, text string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "cmd")
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: "cmd /C " + text} // cmd has quotes of its own
	Group(cmd)
	return cmd
}

// Group has the end of cmd's context kill those that cmd started too.
func Group(cmd *exec.Cmd) {
	cmd.Cancel = func() error {
		if exec.Command("taskkill", "/T", "/F", "/PID", strconv.Itoa(cmd.Process.Pid)).Run() == nil {
			return nil
		}
		return cmd.Process.Kill()
	}
}

// Sweep would kill those that a cmd with a Group started, and left behind at its end.
func Sweep(*exec.Cmd) {}
