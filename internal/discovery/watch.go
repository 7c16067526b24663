package discovery

import (
	"context"
	"time"
)

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
