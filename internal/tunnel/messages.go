package tunnel

import (
	"time"

	"github.com/project-iris/iris/internal/queue"
)

// Constants of tables that count messages.
const (
	// Messages is how many a program may first send that counts those.
	Messages = 128

	// Empty is the size of a message of no octets, which only programs that count
	// messages send and get. Under way it is one octet, which means nothing.
	Empty = MaxMessage + 1

	// chunkLimit is how many octets of a message go on together.
	chunkLimit = 64 << 10

	// ahead is how many messages may wait for a program beside Window octets of them
	// before those that follow are not acknowledged.
	ahead = 512

	// crowded is how many octets of messages wait for a program when it is time to wait
	// for it: messages of any length may be sent ahead of their acknowledgements.
	crowded = 16 << 20
)

// emptyOctet is what an empty message is under way. Nobody writes to it.
var emptyOctet = []byte{0}

// Message takes a whole message of a program that counts them. It fails when the
// program was not allowed to send it. If much waits for the program at the other end,
// that is among the crowds of the batch. The caller has to call Acknowledge soon.
func (e *End) Message(now time.Time, b *queue.Batch, octets []byte) error {
	e.tunnel.mu.Lock()
	defer e.tunnel.mu.Unlock()
	switch {
	case e.closed:
		return nil
	case e.window == 0:
		return ErrCredit
	}
	e.window--
	e.owed++
	if e.draining {
		return nil
	}
	size := uint64(len(octets))
	if size == 0 {
		size, octets = Empty, emptyOctet
	}
	for ; len(octets) > 0 && !e.closed; size = 0 {
		n := min(len(octets), chunkLimit)
		e.pass(now, b, size, octets[:n])
		octets = octets[n:]
	}
	if !e.closed && e.peer.waits.Len() > crowded {
		b.AddCrowd(e.peer)
	}
	return nil
}

// Acknowledge has the program hear of the messages it sent, but for those that have to
// wait. It comes when all is handled that came together with them: if that was a close,
// there is nothing to hear any more (relay-v0, V17).
func (e *End) Acknowledge(b *queue.Batch) {
	e.tunnel.mu.Lock()
	defer e.tunnel.mu.Unlock()
	if !e.closed {
		e.acknowledge(b)
	}
}

// acknowledge lets a program that counts messages send as many as it sent, unless too
// many wait.
func (e *End) acknowledge(b *queue.Batch) {
	if p := e.peer; e.owed == 0 || p.waits.Len() > Window || p.starts > ahead {
		return
	}
	e.window += e.owed
	e.table.sink.TunnelAllow(b, e.id, uint64(e.owed))
	e.owed = 0
}

// Ack says that the program, which counts messages, takes one more, as it has taken
// one. It fails when it was sent none that it did not acknowledge.
func (e *End) Ack(now time.Time, b *queue.Batch) error {
	e.tunnel.mu.Lock()
	defer e.tunnel.mu.Unlock()
	had := e.most - e.credit
	if e.left > 0 {
		had-- // the program has nothing of this one yet
	}
	switch {
	case e.closed:
		return nil
	case had == 0:
		return ErrAck
	}
	e.credit++
	e.allowed(now, b)
	return nil
}

// Crowded implements queue.Crowd: much waits for the program, and it takes it.
func (e *End) Crowded(now time.Time) bool {
	e.tunnel.mu.Lock()
	defer e.tunnel.mu.Unlock()
	waits := e.waits.Len()
	return !e.closed && waits > crowded && !e.pace.Stands(now, e.peer.taken-uint64(waits), 1)
}
