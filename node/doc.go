// Package node is an Iris node for any Go program to embed: the driver that owns
// time and goroutines, and the wiring of the parts below it.
//
//	n, err := node.New(node.Config{Dev: true, Port: 55555})
//	...
//	if err := n.Start(); err != nil { ... }
//	defer n.Close()
//
// Programs attach to the node over the relay protocol; code in the same process
// attaches with Connect, without a socket.
package node
