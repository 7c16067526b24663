package link

import (
	"encoding/binary"

	"github.com/project-iris/iris/internal/queue"
)

// quantum is how many octets a lane of weight 1 may write when its turn comes.
const quantum = 16 << 10

// A source is where a lane gets its octets from: whole frames, one after another.
type source interface {
	// take fills p with the next octets, as far as there are any; with start set
	// they begin with a frame.
	take(p []byte, start bool) int

	// waiting returns how many octets there are.
	waiting() int

	// roomy reports, once, that there is room again after an append was refused.
	roomy() bool

	// leave says that nothing more is taken.
	leave()
}

// A lane is a source with its share of a connection. Shares are those of deficit
// round robin (Shreedhar and Varghese, SIGCOMM 1995), since frames are not cut at
// the end of a turn.
type lane struct {
	source
	weight int // 0: it goes before all others
	credit int
}

// lanes are those of one connection, in the hands of its writer.
type lanes struct {
	all  []lane
	turn int
	frames
}

// waiting returns how many octets there are in all of them.
func (s *lanes) waiting() (n int) {
	for i := range s.all {
		n += s.all[i].waiting()
	}
	return n
}

// fill copies octets of the lanes to p and returns how many. The frame that is
// under way is always finished first; with finish set, nothing else is begun.
func (s *lanes) fill(p []byte, finish bool) (n int) {
	idle := 0 // lanes in a row that had nothing
	for n < len(p) && idle < len(s.all) {
		room, left := p[n:], s.left()
		start := left == 0
		if start {
			if finish {
				break
			}
			if idle == 0 && s.all[0].weight == 0 {
				s.turn, s.all[0].credit = 0, quantum
			}
			if s.all[s.turn].credit <= 0 {
				s.advance()
				idle = 0
				continue
			}
			left = s.all[s.turn].credit
		}
		l := &s.all[s.turn]
		got := l.take(room[:min(left, len(room))], start)
		if got == 0 {
			if s.left() > 0 {
				break // the source was emptied: the link is at its end
			}
			idle++
			s.advance()
			continue
		}
		idle = 0
		s.pass(room[:got])
		l.credit -= got
		n += got
	}
	return n
}

// advance gives the turn to the next lane, which has to make up for what it wrote
// beyond its share.
func (s *lanes) advance() {
	s.turn = (s.turn + 1) % len(s.all)
	l := &s.all[s.turn]
	l.credit = min(l.credit, 0) + quantum*l.weight
}

// frames finds where frames end in a stream of them.
type frames struct {
	rest int // octets of the frame under way, if its length is known
	head [4]byte
	have int // octets of head
}

// left returns how many octets are needed at least to finish the frame under way;
// 0: there is none.
func (f *frames) left() int {
	if f.have > 0 {
		return len(f.head) - f.have
	}
	return f.rest
}

// pass goes on over p.
func (f *frames) pass(p []byte) {
	for len(p) > 0 {
		switch {
		case f.rest > 0:
			n := min(f.rest, len(p))
			f.rest -= n
			p = p[n:]
		case f.have == 0 && len(p) >= len(f.head):
			f.rest = int(binary.BigEndian.Uint32(p))
			p = p[len(f.head):]
		default:
			f.head[f.have] = p[0]
			f.have++
			p = p[1:]
			if f.have == len(f.head) {
				f.rest, f.have = int(binary.BigEndian.Uint32(f.head[:])), 0
			}
		}
	}
}

// A queued is a source made of a queue.
type queued struct {
	*queue.Queue
	room    int // Wrote tells when less waits
	claimed bool
	told    bool
	aging   *aging // nil: what waits here does not expire
}

func (s *queued) take(p []byte, start bool) int {
	if !s.claimed {
		if s.claimed = s.Claim(); !s.claimed {
			return 0
		}
	}
	for {
		b := s.NextUpTo(len(p))
		if b == nil {
			s.claimed = false
			return 0
		}
		n, out := len(b), false
		if s.aging != nil && (start || s.aging.skip > 0) {
			pos, _ := s.Position()
			n, out = s.aging.look(b, pos)
		}
		if !out {
			copy(p, b[:n])
		}
		if s.Wrote(n, s.room) {
			s.told = true
		}
		if !out {
			return n
		}
	}
}

func (s *queued) waiting() int { return s.Waiting() }

func (s *queued) roomy() bool {
	told := s.told
	s.told = false
	return told
}

// leave lets go of the queue when nobody writes any more.
func (s *queued) leave() {
	if s.claimed {
		s.Unclaim()
		s.claimed = false
	}
}
