package wire

// A Lane is a queue of its own within the data connection of a link: what is in
// one does not wait for what is in another.
type Lane byte

const (
	Requests     Lane = iota // requests, replies, and what is about them
	Publications             // events and broadcasts
	Bulk                     // fragments of long messages
	Lanes                    // how many there are
)
