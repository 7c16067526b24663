// Package queue holds what waits to be written: byte-bounded queues into which
// any goroutine appends whole frames and from which one writer at a time takes
// octets, the node's memory budget they are charged to, and the batch that
// remembers which queues are owed a flush.
//
// It does no I/O and starts no goroutine: appending never blocks, and whoever
// holds a queue's claim does the writing. Append may be called under a cell's
// lock; nothing in here calls out while it holds its own.
package queue
