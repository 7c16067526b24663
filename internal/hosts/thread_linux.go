package hosts

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// A thread is one of the system's, in a network namespace of its own.
type thread struct {
	id    int
	calls chan func()
	ended chan struct{}
}

func newThread() (*thread, error) {
	t := &thread{calls: make(chan func()), ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(t.ended)
		runtime.LockOSThread() // for good: the runtime ends a thread whose goroutine did not unlock it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			started <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		t.id = unix.Gettid()
		started <- nil
		for call := range t.calls {
			call()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return t, nil
}

// do has the thread call f and returns its error.
func (t *thread) do(f func() error) error {
	result := make(chan error)
	t.calls <- func() { result <- f() }
	return <-result
}

func (t *thread) end() {
	close(t.calls)
	<-t.ended
}
