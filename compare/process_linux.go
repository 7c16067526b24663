package main

import (
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endWithUs has the kernel kill the process of cmd when this one is killed and
// cannot see to it. (The signal goes by the thread that started it; the runtime
// keeps its threads.)
func endWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// processorTime returns the time that all threads of a process have run, those
// too that have ended: what clock_getcpuclockid(3) does, in nanoseconds where
// /proc/PID/stat has ticks of 10 ms.
func processorTime(pid int) (time.Duration, error) {
	const scheduler = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduler), &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
