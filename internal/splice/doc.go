// Package splice joins the two halves of a tunnel between programs on different
// nodes: it agrees with the other node on a connection of the tunnel's own, sees to
// it that exactly one is made whoever can dial, and carries chunks, credit and the
// end across (docs/messaging.md, Tunnels; docs/security.md, First frames).
//
// What a tunnel is to a program is told by package tunnel; who is to be the
// acceptor is found by messaging. The words between nodes about a tunnel that is
// not open yet travel on links, which are the caller's.
package splice
