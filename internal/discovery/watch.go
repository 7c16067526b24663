package discovery

import (
	"context"
	"time"
)

// Watch calls moved with the interfaces of this host, only those named if any are, when
// they may have changed. It returns when ctx ends.
func Watch(ctx context.Context, only []string, moved func([]Interface)) {
	watch(ctx, func() {
		if all, err := Interfaces(only); err == nil {
			moved(all)
		}
	})
}

const pollEvery = 5 * time.Second

// poll calls changed now and then, until ctx ends.
func poll(ctx context.Context, changed func()) {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			changed()
		case <-ctx.Done():
			return
		}
	}
}
