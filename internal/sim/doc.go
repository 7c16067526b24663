// Package sim runs many nodes in invented time, breaks things, and looks whether
// what docs/overlay.md promises still holds.
//
// The nodes are the ones a daemon runs: only clock, links and the driver are made
// up. One loop takes one event after the other, ordered by time and then by when
// they were planned, and all chance comes from seeds. So a run is a function of
// its scenario and its seed: the same two give the same trace, octet by octet,
// and a seed that fails once fails always.
package sim
