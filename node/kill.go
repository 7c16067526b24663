package node

// Kill ends the node as a crash would, for tests and demonstrations: all its sockets
// are closed at once, and neither programs nor other nodes are told anything. What
// the node held is gone. When it returns nothing of the node is running, and
// in-process clients have ended with ErrClosed; Close then does nothing.
func (n *Node) Kill() {
	n.closing.Do(func() {
		n.up.Swap(true)
		if n.network != nil {
			n.network.abort()
		}
		n.closeListeners()
		n.relay.Abort()
		n.closeClients()
		n.relay.Close(Terminating)
		if n.network != nil {
			n.network.close(false) // without a last word
		}
		close(n.stop)
		n.running.Wait()
	})
}

// abort takes the network away from this node. It comes first: what follows from the
// end of programs is not to be told to anybody.
func (w *network) abort() {
	w.cancel()
	if w.listener != nil {
		w.listener.Close()
	}
	w.links.Abort()
	w.splice.Abort(Terminating)
}
