package discovery

import "time"

// IdentityOf returns a member of a network.
var IdentityOf = identity

// Outlive sets for how long the entry of a node outlives it.
func (e *Etcd) Outlive(d time.Duration) { e.lease = d }
