// Package arch holds the rules about the shape of this module, as tests: the
// order in which packages import each other, and that protocol logic does no
// I/O, starts no goroutine, reads no clock and gives the same output for the
// same input. There is nothing in it to import.
//
// A new package gets a place in the table of lines in arch_test.go. In a pure
// package a range over a map is refused, for the order of a map is different
// each time. Where the order cannot show, say why in a comment on the line of
// the range or the line before it:
//
//	//iris:unordered the largest one wins whatever the order
package arch
