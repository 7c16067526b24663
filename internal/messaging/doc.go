// Package messaging is the data plane of a node: how requests, broadcasts and
// events go from the program that sent them to the members they are for.
//
// The control plane's word reaches it as a snapshot: names to cells. A cell is a
// small struct with one mutex and all the mutable state of one thing: the
// members of a cluster, the targets of a publication, a connection's pending
// calls, the requests a connection serves. The goroutine that read a message
// finds the cell, works under its lock, appends to the queues it is for and goes
// on: no goroutine, no channel, no loop in between, so messages between known
// names flow whatever the control loop does.
//
// At most one cell's lock is held at a time, and under it at most one queue's.
// Nothing here does I/O, reads a clock or starts a goroutine; times come in as
// arguments, so the same methods serve the daemon and a simulation. Methods of
// Plane marked "loop" belong to the control loop; those of Conn to the reader of
// that connection, save where they say otherwise.
package messaging
