package node

import (
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// startIdle starts cmd so that it runs only while a processor has nothing else
// to do.
func startIdle(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		// The process inherits the policy of the thread that starts it; the
		// thread ends with this goroutine.
		runtime.LockOSThread()
		if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0); err != nil {
			started <- err
			return
		}
		started <- cmd.Start()
	}()
	return <-started
}
