// Package relay is the service that the programs of this host attach to: it
// speaks relay protocol v1 (docs/relay-v1.md) on whatever listeners it is given.
//
// One goroutine reads each connection: it parses messages in place, lets the
// data plane append them to the queues they are for, and flushes those queues
// when it has no more input. It writes them itself as far as that does not block;
// the rest, and everything where it cannot tell, is left to the goroutine that
// each connection has for writing. So a request costs no goroutine switch inside
// the node, and a program that does not read holds up nobody.
package relay
