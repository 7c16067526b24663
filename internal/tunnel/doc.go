// Package tunnel carries the octets of tunnels between two programs: credit in
// both directions, what waits for credit, and the end of a tunnel, overtaking
// nothing that was accepted before it (relay-v1, Tunnels).
//
// A Tunnel is a cell: one mutex over both ends. A Table is the cell of one
// connection's tunnels by the ids its program chose. Under a tunnel's lock its
// ends append to the queues of their programs and find their tables, one at a
// time; under a table's lock nothing else is taken. Nothing here does I/O, reads a clock or starts a goroutine.
//
// A tunnel between programs on two nodes is a Tunnel on each, one end of which is
// a Wire: what one node's Wire takes, the other node brings to its own as if it
// were a program (docs/messaging.md, Tunnels).
package tunnel
