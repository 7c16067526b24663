//go:build !linux

package hosts

import "testing"

func TestHosts(t *testing.T) {
	t.Skip("hosts are network namespaces, which only Linux has")
}
