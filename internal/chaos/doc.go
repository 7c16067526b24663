// Chaos breaks a network of real nodes on hosts of its own while programs use it, and
// checks from outside that what is promised holds. docs/chaos.md describes it; run it
// with "make chaos".
package main
