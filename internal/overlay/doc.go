// Package overlay decides who owns a key, and which nodes are there at all
// (docs/overlay.md).
//
// Every node keeps a view, the list of all nodes; the owner of a key is the
// closest Active node in it. The view spreads by events that nodes pass on, and
// what got lost on the way is found by comparing sums. What makes the view true
// is the ring underneath: each node is linked to the eight nearest on each side,
// joins through them, and watches the nearest one on each side, so that whoever
// dies has somebody who notices.
//
// An Overlay is a plain value: links that come and go, messages and the time are
// told to it, and what is to be done comes out as data. It does no I/O and reads
// no clock, so that a daemon, a test and a simulation of a thousand nodes run the
// same code, and the same seed gives the same run.
//
// The rules come from Pastry and MSPastry (leaf sets, never trust hearsay), SWIM
// and Lifeguard (indirect probes, refuted deaths, local health) and the ring
// merging of Shafaat, Ghodsi and Haridi (the graveyard).
package overlay
