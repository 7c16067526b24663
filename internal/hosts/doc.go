// Package hosts makes hosts out of one machine for tests and measurements: network
// namespaces on a bridge, with processes in them, links that can be cut, and a
// capture of all that crosses the bridge. It needs Linux, root and the command ip.
//
// The namespaces have no name. Each belongs to a thread of this process, and so to
// the processes that thread starts, and the kernel kills those with it: whatever
// becomes of a test, nothing is left behind. All interfaces are made inside, so
// those of the machine are never touched.
package hosts
