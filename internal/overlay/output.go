package overlay

import (
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/wire"
)

// Output is what is to be done after a call, in this order. Calls append to it;
// whoever carries it out resets it.
type Output struct {
	Send []Send
	Dial []Dial
	Drop []Drop
	News []News
}

// Reset empties out and keeps its memory.
func (out *Output) Reset() {
	clear(out.Send)
	clear(out.Dial)
	out.Send, out.Dial, out.Drop, out.News = out.Send[:0], out.Dial[:0], out.Drop[:0], out.News[:0]
}

// A Send is a message for a node. If there is no link to it the message is
// routed, by NextHop.
type Send struct {
	To  ring.ID
	Msg wire.Message
}

// A Dial asks for a link. What comes of it is told by Up or DialFailed; a link
// that is already there needs no answer.
type Dial struct {
	ID    ring.ID
	Addrs []wire.Addr
}

// A Drop asks to close a link that is of no use any more. Down may be called for
// it, and must be before the next Up of that node.
type Drop struct {
	ID     ring.ID
	Reason string
}

// News is what the packages above should know.
type News struct {
	Kind NewsKind
	ID   ring.ID // whom it is about; nobody's if it is the view or this node
}

// A NewsKind says what the News are.
type NewsKind byte

// The kinds of News.
const (
	NodeJoined   NewsKind = 1 + iota // it is Active, or is again: what it was told before it may have lost
	NodeLeaving                      // it owns nothing any more
	NodeGone                         // it left or is dead: what it said counts no more
	ViewChanged                      // owners may be others than before
	StateChanged                     // of this node
	Alone                            // this node is Active and knows of no other
	Mourned                          // this node was held for dead: what it said, and was told, counts no more
)

// String returns the kind as words.
func (k NewsKind) String() string {
	if k < NodeJoined || k > Mourned {
		return "unknown news"
	}
	return [...]string{"node joined", "node leaving", "node gone", "view changed", "state changed", "alone", "mourned"}[k-NodeJoined]
}

func (out *Output) send(to ring.ID, m wire.Message) {
	out.Send = append(out.Send, Send{to, m})
}

func (out *Output) news(kind NewsKind, id ring.ID) {
	out.News = append(out.News, News{kind, id})
}
