//go:build !linux

package discovery

import "context"

// watch calls changed when an interface or an address may have come or gone, until
// ctx ends: it has to look.
func watch(ctx context.Context, changed func()) { poll(ctx, changed) }
