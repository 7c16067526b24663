package node

// A Client is a program in the node's own process.
type Client struct{}

func (n *Node) closeClients() {}
