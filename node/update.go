package node

import (
	"errors"
	"fmt"
)

// Update has a running node go on with the Key, Accept, Peers and SocketUIDs of c; it
// looks at nothing else there. A change of keys is for connections to come, and the node
// keeps its id. New peers are dialled, and those that are named no longer are not; links
// and programs stay. What is wrong with keys or peers is an error, and nothing is
// changed then; a socket that is gone is a warning. Of two calls at once either may have the last word.
func (n *Node) Update(c Config) error {
	if w := n.network; w != nil {
		own := Config{Network: n.config.Network, Key: c.Key, Accept: c.Accept, Peers: c.Peers}
		if own.Key == nil {
			return fmt.Errorf("no key for network %q", own.Network)
		}
		if err := own.checkPeers(); err != nil {
			return err
		}
		credential, err := own.credential()
		if err != nil {
			return err
		}
		if err := w.identity.Accept(credential); err != nil {
			return err
		}
		w.search.static.Set(own.Peers)
		w.search.changed()
	} else if c.Key != nil || len(c.Peers) > 0 {
		return errors.New("a dev node has no others: leave out its key and its peers")
	}
	n.mu.Lock()
	socket := n.socket
	n.mu.Unlock()
	if socket == nil {
		return nil
	}
	if err := socket.Trust(c.SocketUIDs); err != nil {
		n.config.Log.Warn("no other users are let in on the Unix socket: start the node anew", "error", err)
	}
	return nil
}
