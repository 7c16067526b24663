package sim

import (
	"bytes"
	"math"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/splice"
	"github.com/project-iris/iris/internal/wire"
)

const (
	pipeBuffer = 128 << 10        // octets that the kernels take before the other process has read some
	segment    = 48 << 10         // octets that are read at a time, at most
	lingerTime = 10 * time.Second // for the other end, once all is written
)

// A pipe is the connection of a tunnel between two nodes. One that is cut breaks when
// the kernel gives up, as a link does.
type pipe struct {
	w      *world
	ends   [2]*end
	broken bool    // what is under way is lost
	since  instant // of the stall; 0: none
}

// An end is what one process has of a pipe.
type end struct {
	pipe  *pipe
	n     *node
	other *end
	half  *splice.Half // once it is attached
	mouth *mouth       // at the accepting node

	last    instant  // when what was sent last arrives
	stalled []func() // what the kernel cannot send
	held    int      // octets that it was given and the other process has not read
	input   []byte
	heardAt instant
	writes  bool // it is planned
	shut    bool // there is nothing more to write
	gone    bool // the process has closed it

	// What has passed, as the frames say.
	output       []byte
	sent, credit uint64
	final        uint64
	told, heard  bool // CLOSE was sent, or came
}

// pipe makes a connection, and returns the dialler's end.
func (w *world) pipe(from, to *node) *end {
	p := &pipe{w: w}
	a, b := &end{pipe: p, n: from, final: math.MaxUint64}, &end{pipe: p, n: to, final: math.MaxUint64}
	a.other, b.other = b, a
	p.ends = [2]*end{a, b}
	for _, e := range p.ends {
		e.n.ends = append(e.n.ends, e)
	}
	w.pipes = append(w.pipes, p)
	return a
}

// send puts something on its way to the other process.
func (e *end) send(f func()) {
	p, w := e.pipe, e.pipe.w
	switch {
	case p.broken || e.gone:
	case len(e.stalled) > 0 || !w.reaches(e.n, e.other.n):
		e.stalled = append(e.stalled, f)
		p.stall()
	default:
		e.last = max(w.now+w.delay(e.n, e.other.n), e.last)
		w.at(e.last, func() {
			if p.broken {
				return
			}
			e.other.n.run(func() {
				if !e.other.gone && !p.broken {
					f()
				}
			})
		})
	}
}

func (p *pipe) stall() {
	if p.since > 0 {
		return
	}
	p.since = p.w.now
	p.w.after(userTimeout, func() {
		if p.since > 0 && p.w.now-p.since >= userTimeout {
			p.reset()
		}
	})
}

// resume sends what was stalled.
func (p *pipe) resume() {
	a, b := p.ends[0], p.ends[1]
	if !p.w.reaches(a.n, b.n) || !p.w.reaches(b.n, a.n) {
		return
	}
	p.since = 0
	for _, e := range p.ends {
		stalled := e.stalled
		e.stalled = nil
		if len(stalled) > 0 {
			e.last = max(e.last, p.w.now+p.w.jitter(time.Second))
		}
		for _, f := range stalled {
			e.send(f)
		}
	}
}

// reset breaks the connection: both ends learn of it.
func (p *pipe) reset() {
	p.broken = true
	for _, e := range p.ends {
		p.w.after(p.w.jitter(time.Millisecond), func() { e.n.run(e.lost) })
	}
}

// resetPipes breaks a share of the connections of tunnels.
func (w *world) resetPipes(share float64) {
	if len(w.pipes) == 0 {
		return
	}
	for range int(math.Ceil(share * float64(len(w.pipes)))) {
		w.pipes[w.rng.IntN(len(w.pipes))].reset()
	}
}

// lost is the news that the other end is no more.
func (e *end) lost() { e.finish(reasonLost) }

// hangUp closes the connection.
func (e *end) hangUp(reason string) {
	e.send(e.other.lost)
	e.finish(reason)
}

func (e *end) finish(reason string) {
	if e.gone {
		return
	}
	e.gone = true
	e.n.ends = slices.DeleteFunc(e.n.ends, func(o *end) bool { return o == e })
	if e.other.gone {
		e.pipe.w.pipes = slices.DeleteFunc(e.pipe.w.pipes, func(p *pipe) bool { return p == e.pipe })
	}
	if e.half != nil {
		e.n.turn(func(now time.Time, m *machine) { e.half.Close(now, &m.batch, reason) })
	}
}

// write plans that the writer takes what is queued.
func (e *end) write() {
	if e.writes || e.gone {
		return
	}
	e.writes = true
	w := e.pipe.w
	w.after(w.jitter(writerDelay), func() {
		e.n.turn(func(_ time.Time, m *machine) {
			e.writes = false
			e.flush(m)
		})
	})
}

// flush gives the kernel what it takes.
func (e *end) flush(m *machine) {
	q, w := e.half.Queue, e.pipe.w
	if e.gone {
		return
	}
	for more := q.Claim(); more; {
		p := q.NextUpTo(1 + w.rng.IntN(segment))
		if p == nil {
			break
		}
		octets := bytes.Clone(p)
		e.wrote(octets)
		e.held += len(octets)
		e.send(func() { e.other.take(octets) })
		e.half.Wrote(&m.batch, len(octets))
		if more = e.held < pipeBuffer; !more {
			q.Unclaim()
		}
	}
	if !q.Drained() || e.shut {
		return
	}
	e.shut = true
	if e.told && e.sent != e.final && !e.heard {
		w.violated(e.n, "M15: all is written after %d octets, %d were announced", e.sent, e.final)
	}
	e.send(e.other.ended)
	e.heardAt = w.now
	e.linger()
}

// linger waits for the other end to close the connection, but not for ever.
func (e *end) linger() {
	w := e.pipe.w
	w.at(e.heardAt+lingerTime, func() {
		e.n.run(func() {
			switch {
			case e.gone:
			case w.now-e.heardAt < lingerTime:
				e.linger()
			default:
				e.hangUp(reasonLost)
			}
		})
	})
}

// ended is the end of what the other process sends.
func (e *end) ended() {
	if !e.half.Over() && !e.told { // else the program there has closed too, and takes nothing any more
		e.pipe.w.violated(e.n, "M15: a connection ends in order, and its tunnel has not")
	}
	e.hangUp(reasonLost)
}

// take takes octets that came.
func (e *end) take(octets []byte) {
	w := e.pipe.w
	w.trace.add(uint64(w.now), e.n.id.Hi, uint64(len(octets)))
	e.heardAt = w.now
	e.n.turn(func(now time.Time, m *machine) {
		e.input = append(e.input, octets...)
		n, _, err := e.half.Take(now, &m.batch, e.input)
		if err != nil {
			w.violated(e.n, "M15: %s breaks the protocol of tunnels: %v", e.other.n.id.Short(), err)
		}
		frames(e.input[:n], e.came)
		e.input = append(e.input[:0], e.input[n:]...)
	})
	o := e.other
	w.after(w.delay(e.n, o.n), func() {
		o.n.run(func() {
			o.held -= len(octets)
			o.write()
		})
	})
}

// came takes note of a frame that came.
func (e *end) came(f *wire.Frame) {
	switch f.Type {
	case wire.TypeCredit:
		c, _ := wire.ParseCredit(f.Body)
		e.credit += uint64(c.Bytes)
	case wire.TypeClose:
		e.heard = true
	}
}

// wrote looks at what is written: no more than the other node has allowed, and not
// beyond what was said to be the end.
func (e *end) wrote(octets []byte) {
	e.output = append(e.output, octets...)
	n := frames(e.output, func(f *wire.Frame) {
		w := e.pipe.w
		switch f.Type {
		case wire.TypeChunk:
			_, octets, _ := wire.ParseChunkHead(f.Body)
			if e.sent += uint64(len(octets)); e.sent > e.credit || e.sent > e.final {
				w.violated(e.n, "M15: %d octets went out with a credit of %d, and an end at %d", e.sent, e.credit, e.final)
			}
		case wire.TypeClose:
			c, _ := wire.ParseClose(f.Body)
			if e.told || c.Final < e.sent {
				w.violated(e.n, "M15: a second end, or one after %d octets, when %d are out", c.Final, e.sent)
			}
			e.told, e.final = true, c.Final
		}
	})
	e.output = append(e.output[:0], e.output[n:]...)
}

// frames calls do with the frames that octets begin with, and returns their length.
func frames(octets []byte, do func(f *wire.Frame)) (n int) {
	var f wire.Frame
	for {
		size, err := wire.Parse(octets[n:], &f)
		if err != nil {
			return n
		}
		do(&f)
		n += size
	}
}
